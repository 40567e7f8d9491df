"""Everyday words for the things that the built-in model can name, for suggestions when an unknown word is asked for.

They are hints, not synonyms: an error about "puppy" suggests "dog", but "puppy" is never replaced by it, because a filter that
marks more than was asked for would do so silently.
"""

from __future__ import annotations

from functools import cache

from sonomask.audio.categories import ANIMALS, CATEGORIES, INSTRUMENTS, KNOWN

__all__ = ["meant_by"]

ALIASES: dict[str, str] = {
    "person": (
        "people; human; man; men; woman; women; guy; boy; girl; kid; child; children; baby; infant; toddler; adult; face; "
        "speaker; talker; singer; vocalist; rapper; choir; actor; actress; presenter; host; reporter; anchor; teacher; "
        "lecturer; dancer; audience; crowd; fan; player; athlete; voice; mouth; talk; dialogue; narrator"
    ),
    "dog": (
        "puppy; puppies; pup; doggy; doggie; hound; canine; pooch; mutt; terrier; poodle; retriever; labrador; shepherd; "
        "husky; beagle; bulldog; chihuahua; corgi; dachshund; collie; wolf; wolves; fox; coyote; dingo; pet; bark"
    ),
    "cat": "kitten; kitty; kittie; feline; tomcat; tabby; siamese; puss; pussycat; pet",
    "bird": (
        "chick; hen; rooster; cock; parrot; parakeet; budgie; canary; finch; sparrow; robin; gull; seagull; eagle; hawk; "
        "falcon; raven; magpie; swan; duckling; gosling; penguin; peacock; ostrich; cockatoo; songbird; poultry; woodpecker"
    ),
    "cow": "bull; calf; calves; ox; oxen; steer; heifer; bovine; buffalo; bison; yak",
    "horse": "pony; ponies; foal; mare; stallion; colt; donkey; mule; zebra; equine",
    "sheep": "lamb; ram; ewe; kid goat; billy; nanny goat",
    "big_cat": "lion; lioness; tiger; leopard; panther; jaguar; cheetah; cougar; puma; lynx",
    "elephant": "mammoth; tusker; pachyderm",
    "other_animal": (
        "piglet; hog; boar; swine; toad; bee; wasp; fly; mosquito; cricket; cicada; grasshopper; mouse; mice; rat; hamster; "
        "squirrel; rabbit; monkey; ape; gorilla; chimp; chimpanzee; bear; panda; whale; dolphin; seal; deer; elk; camel; "
        "llama; alpaca; raccoon; hedgehog; bat; lizard; snail; creature; beast"
    ),
    "car": (
        "automobile; auto; sedan; coupe; convertible; hatchback; suv; jeep; van; minivan; taxi; cab; limousine; pickup; lorry; "
        "lorries; truck; racecar; sportscar; roadster; traffic; police; ambulance; firetruck; tractor; wheel; vehicle"
    ),
    "bus": "coach; minibus; trolleybus; lorry; truck; vehicle",
    "train": "locomotive; tram; streetcar; metro; subway; railway; railroad; carriage; wagon; vehicle",
    "motorcycle": "motorbike; moped; scooter; vespa; dirtbike; quad; bike; biker; vehicle",
    "boat": "ship; yacht; ferry; canoe; kayak; dinghy; vessel; speedboat; sailboat; jetski; raft; vehicle",
    "airplane": "aeroplane; plane; jet; airliner; aircraft; fighter; biplane; glider; vehicle",
    "helicopter": "chopper; heli; drone; quadcopter; rotorcraft; vehicle",
    "gun": "rifle; pistol; handgun; revolver; shotgun; cannon; weapon; firearm; shot; firework",
    "guitar": "bass; ukelele; guitarist; lute; strat; telecaster",
    "violin": "fiddle; viola; cello; contrabass; violinist; cellist; strings",
    "piano": "keyboard; keyboards; synth; synthesizer; pianist; clavier; celesta; pianoforte",
    "accordion": "squeezebox; concertina; bandoneon; melodica",
    "harp": "lyre; zither; guzheng; koto; dulcimer; harpist",
    "flute": "piccolo; recorder; panpipe; pan pipes; whistle; flautist; flutist; dizi",
    "clarinet": "oboe; bassoon; reed; woodwind",
    "saxophone": "sax; saxophonist; alto sax; tenor sax",
    "trumpet": "cornet; bugle; flugelhorn; trumpeter; brass; vuvuzela",
    "trombone": "trombonist; sackbut; brass",
    "tuba": "euphonium; sousaphone; horn; brass",
    "drum_kit": "drums; drummer; drumset; drum set; percussion; cymbal; snare; kick; hihat; tom",
    "hand_drum": "bongo; bongos; conga; congas; djembe; tabla; cajon; darbuka; timbale",
    "banjo": "mandolin; banjolele",
    "sitar": "sarod; veena; tanpura; pipa; shamisen; erhu",
    "xylophone": "glockenspiel; vibraphone; marimba; metallophone; chimes",
    "harmonica": "mouth organ; blues harp",
    "bagpipes": "bagpipe; piper; pipes",
    "tambourine": "riq; pandeiro; jingle",
    "maracas": "shaker; rattle; maraca",
    "didgeridoo": "didge",
    "alphorn": "alpenhorn",
    "ocarina": "clay flute",
    "object": (
        "machine; device; tool; drill; saw; chain saw; mower; lawnmower; vacuum; hoover; mixer; computer; laptop; phone; "
        "telephone; bell; clock; alarm; typewriter; washer; dishwasher; fan; hammer; appliance; speaker; loudspeaker; radio; tv"
    ),
}
"""By name, words that someone may use for it, parted by semicolons."""

KINDS: dict[str, tuple[str, ...]] = {
    "animal": tuple(name for name in CATEGORIES if name in ANIMALS),
    "pet": ("dog", "cat"),
    "livestock": ("cow", "sheep", "horse"),
    "instrument": tuple(name for name in CATEGORIES if name in INSTRUMENTS)[:8],
    "vehicle": CATEGORIES[CATEGORIES.index("car") : KNOWN],
}
"""Words for several names at once."""


def meant_by(word: str) -> tuple[str, ...]:
    """Names of the built-in model that a word may mean; none if it is in no table.

    Several words are looked up together first, then the last one alone: a "brown puppy" is a puppy.
    """
    plain = " ".join(word.lower().replace("_", " ").replace("-", " ").split())
    for asked in (plain, plain.rpartition(" ")[2]):
        for form in (asked, asked.removesuffix("s"), asked.removesuffix("es")):
            if form in KINDS:
                return KINDS[form]
            if form in _by_word():
                return _by_word()[form]
            if form.replace(" ", "_") in CATEGORIES:
                return (form.replace(" ", "_"),)
    return ()


@cache
def _by_word() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, words in ALIASES.items():
        for word in words.split("; "):
            found[word] = (*found.get(word, ()), name)
    return found
