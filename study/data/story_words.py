"""The words that stories are made of, and sentences with places for them.

The words are in lists of equal length, in order of rank.

In a sentence `{name}` recalls what the story has told and `{name*}` tells it. Words of one row
below belong together: whoever knows the animal knows what it eats. So the lists of a row share
one memory.
"""

from __future__ import annotations

START = "<story>"

_WORDS = {
    "name": """anna tom lily ben mia sam lucy max emma jack ella leo zoe tim ruby finn rosa dan
        nora joe clara hugo ivy paul tara nick jane alex kate owen vera luke mary fred gina
        carl olga ned dora rick""",
    "friend": """bob sue amy roy kim ray eve guy ann ted liz pat meg ron fay jim peg hal una gus bea
        cal deb eli flo gil hank ida jon kay lou mel nan ollie pia quinn ross sal tess vic""",
    "animal": """dog cat bird fish frog horse mouse bear duck fox pig cow hen goat sheep rabbit lion
        tiger monkey owl turtle snake whale bee ant wolf deer swan crab seal camel zebra
        panda koala hamster parrot donkey goose squirrel hedgehog""",
    "food": """meat milk seeds worms flies hay cheese honey bread grapes corn grass grain leaves
        clover carrots beef chicken bananas mice lettuce eggs shrimp nectar sugar stew
        acorns weeds clams squid dates straw bamboo eucalyptus oats crackers thistles barley
        nuts beetles""",
    "place": """park house garden forest beach school farm river lake kitchen market castle hill
        village cave barn meadow tower library bakery shop harbor valley island attic cellar
        yard bridge tent cabin church palace station museum theater orchard desert jungle
        swamp canyon""",
    "plant": """rose tulip daisy oak shell lilac wheat reed lotus basil pumpkin vine pine poppy moss
        nettle buttercup thyme fern mint pansy seaweed willow palm cactus mushroom dandelion
        birch holly spruce marigold orchid hedge violet iris appletree aloe bromeliad
        cattail juniper""",
    "toy": """ball kite doll book hat box drum boat train car robot puzzle rope bell flute lamp
        cup spoon blanket basket hammer wagon scooter mask balloon whistle marble feather
        ribbon button ladder bucket shovel mirror candle pencil crayon magnet lantern
        compass""",
    "quality": """soft bright pretty big small loud slow fast green red hard tricky long shiny
        silver golden round wooden warm heavy old new quick funny blue tiny clear light pink yellow
        tall empty dirty clean white sharp purple strong orange broken""",
}
WORDS = {name: tuple(words.split()) for name, words in _WORDS.items()}

MEMORY = {
    "name": 0,
    "friend": 0,
    "animal": 1,
    "food": 1,
    "place": 2,
    "plant": 2,
    "toy": 3,
    "quality": 3,
}
"""List -> what of the story tells its word: who it is about, which animal, where, with what."""

OPENING = (
    f"{START} once there was a {{animal*}} named {{name*}} who lived in the {{place*}} with a "
    f"{{toy*}} ."
)

# Each list stands in two of these, so that they are equally frequent; each begins with a word of
# its own, so that whoever reads it knows which sentence it is.
TELLING = (
    "one day {name} took the {toy} to the {place} .",
    "then {friend} saw a {plant} in the {place} .",
    "soon the {animal} wanted {food} .",
    "but {friend} had a {quality} {toy} .",
    "so {name} gave the {animal} some {food} .",
    "at night the {plant} looked {quality} .",
)
CLOSING = "they were happy ."
CLOSING_PROBABILITY = 0.25
