"""The things that the built-in model can name, and which of AudioSet's sounds each of them makes.

AudioSet's general words ("Vehicle", "Livestock, …") stand for every member of their family, so they count less than a name
of the thing itself; `GENERAL` lists them.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["ANIMALS", "CATEGORIES", "GENERAL", "INSTRUMENTS", "KNOWN", "MUSIC", "SOUNDS", "families", "sound_table"]

SOUNDS: dict[str, str] = {
    "person": (
        "Speech; Child speech, kid speaking; Conversation; Narration, monologue; Babbling; Shout; Bellow; Whoop; Yell; "
        "Children shouting; Screaming; Whispering; Laughter; Baby laughter; Giggle; Snicker; Belly laugh; Chuckle, chortle; "
        "Crying, sobbing; Baby cry, infant cry; Whimper; Wail, moan; Sigh; Singing; Choir; Yodeling; Chant; Mantra; "
        "Child singing; Rapping; Humming; Groan; Grunt; Whistling; Snoring; Cough; Throat clearing; Sneeze; Sniff; "
        "Chewing, mastication; Biting; Crunch; Burping, eructation; Hands; Finger snapping; Clapping; Cheering; Applause; "
        "Chatter; Crowd; Hubbub, speech noise, speech babble; Children playing; Vocal music; A capella"
    ),
    "dog": ("Dog; Bark; Yip; Howl; Bow-wow; Growling; Whimper (dog); Canidae, dogs, wolves; Domestic animals, pets"),
    "cat": "Cat; Purr; Meow; Hiss; Caterwaul; Domestic animals, pets",
    "bird": (
        "Bird; Bird vocalization, bird call, bird song; Chirp, tweet; Squawk; Pigeon, dove; Coo; Crow; Caw; Owl; Hoot; Fowl; "
        "Chicken, rooster; Cluck; Crowing, cock-a-doodle-doo; Turkey; Gobble; Duck; Quack; Goose; Honk; "
        "Bird flight, flapping wings"
    ),
    "cow": "Cattle, bovinae; Moo; Cowbell; Livestock, farm animals, working animals",
    "horse": "Horse; Clip-clop; Neigh, whinny",
    "sheep": "Sheep; Goat; Bleat; Livestock, farm animals, working animals",
    "big_cat": "Roaring cats (lions, tigers); Roar; Growling; Wild animals",
    "elephant": "Roar; Wild animals",
    "other_animal": (
        "Pig; Oink; Goat; Frog; Croak; Insect; Roar; Wild animals; Rodents, rats, mice; Whale vocalization; Snake"
    ),
    "car": (
        "Car; Motor vehicle (road); Vehicle horn, car horn, honking; Toot; Car alarm; Skidding; Tire squeal; Car passing by; "
        "Race car, auto racing; Truck; Engine; Idling; Accelerating, revving, vroom; Engine starting; Emergency vehicle; "
        "Police car (siren); Ambulance (siren); Fire engine, fire truck (siren); Siren; Vehicle"
    ),
    "bus": "Bus; Truck; Air brake; Motor vehicle (road); Fire engine, fire truck (siren); Vehicle",
    "train": (
        "Train; Rail transport; Train whistle; Train horn; Railroad car, train wagon; Train wheels squealing; "
        "Subway, metro, underground; Clickety-clack; Steam whistle; Vehicle"
    ),
    "motorcycle": "Motorcycle; Engine; Accelerating, revving, vroom; Vehicle",
    "boat": "Boat, Water vehicle; Motorboat, speedboat; Ship; Sailboat, sailing ship; Rowboat, canoe, kayak; Vehicle",
    "airplane": "Fixed-wing aircraft, airplane; Aircraft; Aircraft engine; Jet engine; Propeller, airscrew; Vehicle",
    "helicopter": "Helicopter; Aircraft; Propeller, airscrew",
    "gun": ("Gunshot, gunfire; Machine gun; Fusillade; Artillery fire; Cap gun; Explosion; Firecracker; Burst, pop"),
    "guitar": (
        "Guitar; Electric guitar; Bass guitar; Acoustic guitar; Steel guitar, slide guitar; Tapping (guitar technique); Strum; "
        "Ukulele; Plucked string instrument"
    ),
    "violin": ("Violin, fiddle; Cello; Double bass; Bowed string instrument; String section; Pizzicato"),
    "piano": "Piano; Electric piano; Keyboard (musical); Organ; Electronic organ; Harpsichord",
    "accordion": "Accordion; Harmonica",
    "harp": "Harp; Zither; Plucked string instrument",
    "flute": "Flute; Wind instrument, woodwind instrument",
    "clarinet": "Clarinet; Wind instrument, woodwind instrument",
    "saxophone": "Saxophone; Wind instrument, woodwind instrument",
    "trumpet": "Trumpet; Brass instrument",
    "trombone": "Trombone; Brass instrument",
    "tuba": "French horn; Brass instrument",
    "drum_kit": (
        "Drum kit; Drum machine; Drum; Snare drum; Rimshot; Drum roll; Bass drum; Cymbal; Hi-hat; Timpani; Steelpan; "
        "Percussion"
    ),
    "hand_drum": "Tabla; Drum; Percussion",
    "banjo": "Banjo; Mandolin; Ukulele; Plucked string instrument",
    "sitar": "Sitar; Plucked string instrument",
    "xylophone": "Marimba, xylophone; Glockenspiel; Vibraphone; Mallet percussion",
    "harmonica": "Harmonica; Accordion",
    "bagpipes": "Bagpipes",
    "tambourine": "Tambourine; Percussion",
    "castanets": "Percussion",
    "maracas": "Maraca; Rattle (instrument); Percussion",
    "guiro": "Percussion",
    "ocarina": "Flute",
    "didgeridoo": "Didgeridoo",
    "alphorn": "Brass instrument",
    "cabasa": "Percussion",
    "object": (
        "Chainsaw; Lawn mower; Typing; Typewriter; Computer keyboard; Hammer; Tools; Vacuum cleaner; Power tool; "
        "Sewing machine; Clock; Bell; Telephone; Blender; Wood; Chop"
    ),
}
"""By category, the names of AudioSet that it may make, parted by semicolons."""

CATEGORIES = tuple(SOUNDS)
ANIMALS = frozenset(CATEGORIES[CATEGORIES.index("dog") : CATEGORIES.index("car")])
KNOWN = CATEGORIES.index("gun")
"""The first so many are people, animals and vehicles, of which there were many pictures to learn from."""
INSTRUMENTS = frozenset(CATEGORIES[CATEGORIES.index("guitar") : CATEGORIES.index("object")])
MUSIC = ("Music", "Musical instrument")
"""Words for any instrument."""

GENERAL = frozenset({
    "Vehicle", "Motor vehicle (road)", "Engine", "Aircraft", "Livestock, farm animals, working animals",
    "Domestic animals, pets", "Wild animals", "Plucked string instrument", "Bowed string instrument",
    "Wind instrument, woodwind instrument", "Brass instrument", "Percussion", "Drum",
})  # fmt: skip


def families() -> list[list[bool]]:
    """For each category whether it is a person, an animal, a vehicle, a gun, an object, an instrument."""
    car, gun = CATEGORIES.index("car"), CATEGORIES.index("gun")
    vehicles = CATEGORIES[car:gun]
    return [
        [c == "person", c in ANIMALS, c in vehicles, c == "gun", c == "object", c in INSTRUMENTS] for c in CATEGORIES
    ]


def sound_table(names: Sequence[str], general: float = 0.5) -> list[list[float]]:
    """For each category the weight of each name: 1 for what it may make, `general` for a word of its family, else 0.

    Args:
        names: AudioSet's, in the order of the scores.
        general: Weight of `GENERAL`.
    """
    rows = []
    for sounds in SOUNDS.values():
        own = {sound.strip() for sound in sounds.split(";")}
        rows.append([(general if name in GENERAL else 1.0) if name in own else 0.0 for name in names])
    return rows
