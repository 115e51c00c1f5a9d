"""A video from upload to letter: cut into pieces, encoded four at a time, put together again when each piece has its
answer.

`split` returns a list: a scatter. `publish` says `gathers=ChunkCut`: it runs once, when every piece of that list is
encoded or lost, and gets the parts in the order of the pieces. No counter, no "last piece" flag, no state.
"""

from datetime import timedelta
from typing import Protocol

from callboard import Choreography, Flow, ReactionFailed, Retry, Service, event, failure, port


@event
class VideoUploaded:
    video_id: str
    owner: str
    url: str


@event
class ChunkCut:
    video_id: str
    number: int
    url: str


@failure
class VideoUnreadable:
    video_id: str


@event
class ChunkEncoded:
    video_id: str
    number: int
    url: str


@failure
class ChunkLost:
    video_id: str
    number: int


@event
class PosterDrawn:
    video_id: str
    url: str


@event
class VideoPublished:
    video_id: str
    parts: tuple[str, ...]


@failure
class VideoRejected:
    video_id: str
    lost: tuple[int, ...]


@event
class OwnerTold:
    video_id: str


splitter, encoder, artist = Service("splitter"), Service("encoder"), Service("artist")
publisher, mailer = Service("publisher"), Service("mailer")


@port
class Ffmpeg(Protocol):
    def cut(self, url: str) -> list[str]: ...
    def encode(self, url: str) -> str | None: ...
    def draw(self, url: str) -> str: ...


@port
class Post(Protocol):
    async def mail(self, to: str, text: str, *, key: str) -> None: ...


@splitter.reaction(blocking=True, keeps="files expire by themselves")
def split(video: VideoUploaded, ffmpeg: Ffmpeg) -> list[ChunkCut] | VideoUnreadable:
    chunks = ffmpeg.cut(video.url)
    if not chunks:
        return VideoUnreadable(video_id=video.video_id)
    return [ChunkCut(video_id=video.video_id, number=n, url=url) for n, url in enumerate(chunks)]


@encoder.reaction(
    per="number",  # each piece has a line of its own
    retry=Retry(max_attempts=3, first_wait=timedelta(milliseconds=20)),
    concurrency=4,
    blocking=True,  # run in a thread
    keeps="files expire by themselves",
)
def encode(chunk: ChunkCut, ffmpeg: Ffmpeg) -> ChunkEncoded | ChunkLost:
    url = ffmpeg.encode(chunk.url)  # raises: an accident, tried again; None: a refusal, not tried again
    if url is None:
        return ChunkLost(video_id=chunk.video_id, number=chunk.number)
    return ChunkEncoded(video_id=chunk.video_id, number=chunk.number, url=url)


@encoder.reaction(per="number")
def give_up(failed: ReactionFailed[ChunkCut]) -> ChunkLost:
    return ChunkLost(video_id=failed.event.video_id, number=failed.event.number)


@artist.reaction(blocking=True, keeps="files expire by themselves")
def draw(first: ChunkCut, ffmpeg: Ffmpeg) -> PosterDrawn | None:
    return PosterDrawn(video_id=first.video_id, url=ffmpeg.draw(first.url)) if first.number == 0 else None


@publisher.reaction(gathers=ChunkCut)
def publish(parts: list[ChunkEncoded | ChunkLost]) -> VideoPublished | VideoRejected:
    video_id = parts[0].video_id
    lost = tuple(part.number for part in parts if isinstance(part, ChunkLost))
    if lost:
        return VideoRejected(video_id=video_id, lost=lost)
    return VideoPublished(video_id=video_id, parts=tuple(part.url for part in parts if isinstance(part, ChunkEncoded)))


@mailer.reaction(needs=VideoUploaded, keeps="a letter is a letter")
async def tell(news: VideoPublished | VideoRejected | VideoUnreadable, video: VideoUploaded, post: Post) -> OwnerTold:
    await post.mail(video.owner, f"{video.url}: {type(news).__name__}", key=f"told-{news.video_id}")
    return OwnerTold(video_id=news.video_id)


media = Choreography(
    "media",
    splitter,
    encoder,
    artist,
    publisher,
    mailer,
    flows=[
        # callboard: allow CB301 (`draw` answers for the first chunk, and there always is one)
        Flow(
            "video",
            key="video_id",
            starts=VideoUploaded,
            timeout=timedelta(hours=2),
            succeeds=tuple[VideoPublished, PosterDrawn, OwnerTold],  # all of them, in any order
            fails=tuple[VideoRejected | VideoUnreadable, OwnerTold],
        )
    ],
)
