"""Puts the AsyncAPI documents of the examples through @asyncapi/parser, with the parsers of Avro and Protobuf payloads.

It needs node and npm, and the network once. Two more documents, with an Avro and a Protobuf payload, show that those
parsers are there, and two broken ones that something is refused.
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
PACKAGES = (
    "@asyncapi/parser@3.6.6",
    "@asyncapi/avro-schema-parser@3.1.0",
    "@asyncapi/protobuf-schema-parser@3.9.0",
)
PLACE = ROOT / ".venv" / "asyncapi"
APPS = ("examples/order_fulfilment/shop.py", "examples/10_trip/rides.py", "examples/11_media/media.py")
SCRIPT = """
import { Parser } from '@asyncapi/parser'
import { AvroSchemaParser } from '@asyncapi/avro-schema-parser'
import { ProtoBuffSchemaParser } from '@asyncapi/protobuf-schema-parser'
import { readFileSync } from 'node:fs'
const parser = new Parser()
parser.registerSchemaParser(AvroSchemaParser())
parser.registerSchemaParser(ProtoBuffSchemaParser())
let wrong = 0
for (const file of process.argv.slice(2)) {
  const isBroken = file.includes('broken')
  const { document, diagnostics } = await parser.parse(readFileSync(file, 'utf8'))
  const errors = diagnostics.filter(each => each.severity < 2)
  for (const each of isBroken ? [] : errors) console.log(`${file}: ${each.path.join('/')}: ${each.message}`)
  if (isBroken && !errors.length) console.log(`${file}: nothing was found wrong with it`)
  if ((!document || errors.length > 0) !== isBroken) wrong++
}
console.log(`${process.argv.length - 2 - wrong} of ${process.argv.length - 2} documents are as they should be`)
process.exit(wrong ? 1 : 0)
"""

AVRO = "application/vnd.apache.avro;version=1.9.0"
PROTOBUF = "application/vnd.google.protobuf;version=3"
PAYLOADS = {
    "avro": (AVRO, {"type": "record", "name": "Placed", "fields": [{"name": "order_id", "type": "string"}]}),
    "avro-broken": (AVRO, {"type": "record", "name": "Placed"}),
    "protobuf": (PROTOBUF, 'syntax = "proto3"; message Placed { string order_id = 1; }'),
    "protobuf-broken": (PROTOBUF, 'syntax = "proto3"; message Placed { string order_id; }'),
}


def of_payload(form: str, schema: object) -> str:
    """A document with one message, whose payload has this form."""
    message = {"payload": {"schemaFormat": form, "schema": schema}}
    channels = {"placed": {"address": "placed", "messages": {"placed": message}}}
    return json.dumps({"asyncapi": "3.0.0", "info": {"title": "t", "version": "1"}, "channels": channels})


def callboard(*typed: str) -> str:
    command = [sys.executable, "-m", "callboard", *typed]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def main() -> int:
    if not (PLACE / "node_modules" / "@asyncapi" / "protobuf-schema-parser").is_dir():
        PLACE.mkdir(exist_ok=True)
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", *PACKAGES], cwd=PLACE, check=True)
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
        for name, payload in PAYLOADS.items():
            file = Path(folder) / f"{name}.json"
            file.write_text(of_payload(*payload), "utf-8")
            files.append(str(file))
        return subprocess.run(["node", "validate.mjs", *files], cwd=PLACE, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
