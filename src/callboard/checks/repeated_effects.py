"""CB204: an effect is taken twice in one flow."""

from collections.abc import Iterator

from callboard.check import Check, Finding
from callboard.checks.subject import Subject, at_reaction, told


def find(subject: Subject) -> Iterator[Finding]:
    """Reactions that may take their effect a second time, without a loop, a list or per= that says so."""
    for world in subject.worlds:
        for contract in subject.contracts:
            for part in world.extraction.parts(contract.path):
                bit = world.bits.get("twice", contract.path, part)
                state = world.first(bit) if bit else None
                if state is not None:
                    ever = world.bits.get("ever", contract.path, part)
                    yield at_reaction(
                        contract,
                        CHECK,
                        f"{contract.name} may take its effect twice in one flow",
                        f'give {contract.name} once="{contract.name}", so that the first event wins',
                        **told(world, state, bit | ever),
                    )
                    break


CHECK = Check(
    code="CB204",
    name="effect taken twice",
    severity="error",
    find=find,
    meaning="A reaction with an effect hears two events, or one that is said twice, and both may come in one flow. "
    "Each is an event of its own, so the effect is taken for each: the card is charged twice.",
    broken="""
@stock.reaction
def hold(ordered: Ordered) -> tuple[Held, Packed]: ...

@money.reaction(pivot=True)
async def charge(ready: Held | Packed, bank: Bank) -> Paid: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Paid)]
""",
    mended="""
@stock.reaction
def hold(ordered: Ordered) -> tuple[Held, Packed]: ...

@money.reaction(pivot=True, once="charge")
async def charge(ready: Held | Packed, bank: Bank) -> Paid: ...

flows = [Flow("order", key="order", starts=Ordered, succeeds=Paid)]
""",
)
