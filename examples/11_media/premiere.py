"""Four videos at once, with an encoder that crashes, refuses and gives up."""

import asyncio
from collections import Counter
from datetime import timedelta
from threading import Event, Lock

from media import ChunkCut, Ffmpeg, Post, VideoPublished, VideoRejected, VideoUploaded, media


class Studio(Ffmpeg):
    """Counts how many pieces are encoded at once. What goes wrong is written in the names of the pieces."""

    def __init__(self) -> None:
        self.attempts: Counter[str] = Counter()
        self.most = 0
        self._now = 0
        self._lock = Lock()

    def cut(self, url: str) -> list[str]:
        pieces = {"long.mov": 12, "shaky.mov": 5, "cursed.mov": 4, "noise.mov": 0}[url]
        trouble = {
            ("shaky.mov", 3): "-crashes-twice",
            ("cursed.mov", 1): "-refused",
            ("cursed.mov", 2): "-crashes-always",
        }
        return [f"{url}/{n}{trouble.get((url, n), '')}" for n in range(pieces)]

    def encode(self, url: str) -> str | None:
        with self._lock:
            self.attempts[url] += 1
            self._now += 1
            self.most = max(self.most, self._now)
        Event().wait(0.01)  # it takes its time
        with self._lock:
            self._now -= 1
        if url.endswith("-crashes-always") or (url.endswith("-crashes-twice") and self.attempts[url] <= 2):
            raise OSError("ffmpeg: segmentation fault")
        return None if url.endswith("-refused") else f"{url}.webm"

    def draw(self, url: str) -> str:
        return f"{url}.png"


class Letters(Post):
    def __init__(self) -> None:
        self.sent: dict[str, str] = {}

    async def mail(self, to: str, text: str, *, key: str) -> None:
        self.sent[key] = f"{to}: {text}"


async def main() -> None:
    studio, letters = Studio(), Letters()
    async with media.open("sqlite:///:memory:", ports=[studio, letters]) as board:
        names = ("long", "shaky", "cursed", "noise")
        flows = await board.publish([VideoUploaded(video_id=name, owner="ada", url=f"{name}.mov") for name in names])
        for flow in flows:
            done = await flow.completion(timeout=timedelta(seconds=10))
            pieces = sum(type(each) is ChunkCut for each in done.events)
            print(f"{flow.key}: {done.verdict}, {pieces} pieces")
            if published := done.event(VideoPublished):
                print("   first and last:", published.parts[0], published.parts[-1])
            if rejected := done.event(VideoRejected):
                print("   lost pieces:", rejected.lost)
    print("encoded at once, at most four:", studio.most <= 4)
    print("tried more than once:", {url: n for url, n in sorted(studio.attempts.items()) if n > 1})
    for letter in sorted(letters.sent.values()):
        print("letter to", letter)


if __name__ == "__main__":
    asyncio.run(main())
