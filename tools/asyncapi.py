"""Puts the AsyncAPI documents of the examples through @asyncapi/parser. It needs node and npm, and the network once."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
PARSER = "@asyncapi/parser@3.6.3"
PLACE = ROOT / ".venv" / "asyncapi"
APPS = ("examples/order_fulfilment/shop.py", "examples/10_trip/rides.py", "examples/11_media/media.py")
SCRIPT = """
import { Parser } from '@asyncapi/parser'
import { readFileSync } from 'node:fs'
let wrong = 0
for (const file of process.argv.slice(2)) {
  const { document, diagnostics } = await new Parser().parse(readFileSync(file, 'utf8'))
  const errors = diagnostics.filter(each => each.severity < 2)
  for (const each of errors) console.log(`${file}: ${each.path.join('/')}: ${each.message}`)
  if (!document || errors.length) wrong++
}
console.log(`${process.argv.length - 2 - wrong} of ${process.argv.length - 2} documents are valid`)
process.exit(wrong ? 1 : 0)
"""


def callboard(*typed: str) -> str:
    command = [sys.executable, "-m", "callboard", *typed]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def main() -> int:
    if not (PLACE / "node_modules").is_dir():
        PLACE.mkdir(exist_ok=True)
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", PARSER], cwd=PLACE, check=True)
    (PLACE / "validate.mjs").write_text(SCRIPT, "utf-8")
    with TemporaryDirectory() as folder:
        files: list[str] = []
        for number, app in enumerate(APPS):
            services = json.loads(callboard("graph", app, "--json"))["services"]
            for service in (None, *services):
                file = Path(folder) / f"{number}-{service or 'merged'}.json"
                of_service = ("--service", service) if service else ()
                callboard("graph", app, "--format", "asyncapi", "--output", str(file), *of_service)
                files.append(str(file))
        return subprocess.run(["node", "validate.mjs", *files], cwd=PLACE, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
