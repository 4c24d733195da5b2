"""Which words and numbers each split may use: three pools that share nothing."""

import random
from dataclasses import dataclass

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Pool:
    """What the slots of one split are filled with; no two splits share a member."""

    split: str
    names: tuple[str, ...]
    places: tuple[str, ...]
    things: tuple[str, ...]
    towns: tuple[str, ...]
    colours: tuple[str, ...]
    numbers: frozenset[int]
    """Numbers of questions and results, 11 to 999."""
    listed: int
    """How many things a note lists."""
    limits: tuple[int, ...]
    """Word limits that an instruction names."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = {
    "train": _words(
        "Anna Boris Carla David Elena Felix Greta Henry Irene Jonas Karin Louis Maria Nora Oscar "
        "Paula Quentin Rosa Simon Tessa Victor Wanda Xavier Yvonne Amir Bianca Cedric Dalia "
        "Emil Frida Gustav Helga Ivan Julia Kamal Lena Marco Nina Otto Petra"
    ),
    "dev": _words(
        "Alma Bruno Cora Dieter Edith Florian Gloria Hassan Ilse Jacob Katya Leo Mira Nils Olga"
    ),
    "test": _words(
        "Aisha Benito Claire Dmitri Esther Farid Gemma Hugo Ingrid Joel Kira Lukas Mabel Nadia "
        "Omar Priya Rafael Sonia Tobias Ursula Viktor Walter Yusuf Zelda"
    ),
}

PLACES = {
    "train": _words(
        "cellar attic kitchen garage garden office hallway bedroom library shed bathroom balcony "
        "barn closet basement workshop porch pantry study nursery lobby courtyard"
    ),
    "dev": _words("cabin stable terrace laundry chapel gallery vault tent bakery gym"),
    "test": _words(
        "greenhouse warehouse canteen museum cottage lounge playroom harbour bunker clinic "
        "theatre orchard cabinet dormitory"
    ),
}

THINGS = {
    "train": _words(
        "lantern map basket candle rope teapot violin blanket hammer mirror kettle carpet ladder "
        "bottle saddle ribbon walnut lemon carrot tomato pencil brush bucket pillow towel clock "
        "camera guitar drum helmet jacket scarf glove boot wallet purse spoon fork knife plate "
        "bowl cup tulip daisy melon biscuit hat ring chair desk sofa vest"
    ),
    "dev": _words(
        "bicycle curtain dagger feather goblet jar kite lamp mango needle pear quilt radish sponge "
        "trumpet vase wagon zipper cushion tripod saucer mitten banjo pebble"
    ),
    "test": _words(
        "telescope compass statue notebook suitcase whistle barrel cactus diary flute grape "
        "hatchet jewel kayak napkin parcel quiver raisin shovel thermos wrench broom coat doll "
        "funnel hairbrush jigsaw tractor rocket puzzle sandal teacup magnet locket harp cradle "
        "poster"
    ),
}

TOWNS = {
    "train": _words(
        "Lisbon Vienna Oslo Madrid Dublin Athens Prague Warsaw Berlin Paris Rome Geneva Boston "
        "Chicago Denver Seattle Toronto Sydney Cairo Lima"
    ),
    "dev": _words("Munich Krakow Porto Bergen Nairobi Havana Austin Quebec"),
    "test": _words(
        "Helsinki Naples Lyon Hamburg Seville Dallas Montreal Santiago Manila Kyoto Accra Zagreb "
        "Utrecht Bilbao"
    ),
}

COLOURS = {
    "train": _words("red blue green yellow white purple golden wooden tiny quiet soft round"),
    "dev": _words("silver crimson plain narrow gentle"),
    "test": _words("orange scarlet hollow velvet ancient marble rapid bitter"),
}

LISTED = {"train": 3, "dev": 2, "test": 4}
LIMITS = {"train": (12, 15, 20), "dev": (14, 22), "test": (16, 18, 25)}
RESERVED = frozenset(n for limits in LIMITS.values() for n in limits)


def pools(seed: int) -> dict[str, Pool]:
    """The pools of all splits; numbers are dealt out with `seed`, half of them to training."""
    numbers = [n for n in range(11, 1000) if n not in RESERVED]
    random.Random(seed).shuffle(numbers)
    half, rest = len(numbers) // 2, len(numbers) // 5
    dealt = {
        "train": frozenset(numbers[:half]),
        "dev": frozenset(numbers[half : half + rest]),
        "test": frozenset(numbers[half + rest :]),
    }
    return {
        split: Pool(
            split=split,
            names=NAMES[split],
            places=PLACES[split],
            things=THINGS[split],
            towns=TOWNS[split],
            colours=COLOURS[split],
            numbers=dealt[split],
            listed=LISTED[split],
            limits=LIMITS[split],
        )
        for split in SPLITS
    }
