"""The vocabulary of the built-in lyric writer: what English words in a brief are, and what goes with them.

Phrases are separated by " / ". A noun phrase stands with its article, the way a line takes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.lyrics import Tone

NounKind = Literal["any", "sight", "sound", "place", "person", "time", "feeling"]


def phrases(text: str) -> tuple[str, ...]:
    """The phrases of a block of text, in order."""
    return tuple(phrase.strip() for line in text.splitlines() for phrase in line.split(" / ") if phrase.strip())


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


@dataclass(frozen=True, kw_only=True)
class Field:
    """Words that belong together: any of `cues` in a brief brings the noun phrases of the field."""

    cues: str
    sight: str = ""
    sound: str = ""
    place: str = ""
    person: str = ""
    feeling: str = ""

    def nouns(self) -> dict[NounKind, tuple[str, ...]]:
        """The noun phrases by kind."""
        kinds: tuple[NounKind, ...] = ("sight", "sound", "place", "person", "feeling")
        return {kind: phrases(getattr(self, kind)) for kind in kinds}


FIELDS = (
    Field(
        cues="sea ocean sailor sail ship boat wave tide beach shore coast harbor harbour lighthouse island surf fish",
        sight="the sea / the waves / the tide / the harbor lights / the open sea / the sails",
        sound="the sea / the gulls / the breaking waves / the tide",
        place="the shore / the harbor / the water",
        person="the sailors",
    ),
    Field(
        cues="city town street urban downtown neon subway metro skyline traffic paris london tokyo york berlin",
        sight="the street / the city lights / the neon signs / the crowd",
        sound="the traffic / the city / the crowd",
        place="the city / the avenue / the station",
        person="the strangers",
    ),
    Field(
        cues="love lover lovers romance romantic kiss valentine wedding marry bride crush darling heart",
        sight="your smile / your face / your letters / the ring",
        sound="your voice / your laughter / your heart",
        place="your door / your window",
        feeling="love / devotion",
    ),
    Field(
        cues=(
            "breakup heartbreak heartbroken goodbye divorce lost loss grief death funeral lonely loneliness miss "
            "missing"
        ),
        sight="your picture / your empty chair / your letters / the closing door",
        sound="your voice / the silence / the clock",
        place="your empty room / the station",
        feeling="sorrow",
    ),
    Field(
        cues="night midnight moon star stars evening dark darkness insomnia dream dreams",
        sight="the moon / the stars / the evening sky / the dark",
        sound="the night / the midnight bell / the crickets",
        place="the garden / the window",
    ),
    Field(
        cues="rain storm rainy thunder cloud clouds weather wind umbrella",
        sight="the rain / the clouds / the silver rain / the lightning",
        sound="the rain / the thunder / the wind",
        place="the window / the puddles",
    ),
    Field(
        cues="road car drive driving highway travel journey truck motorcycle bike trip route",
        sight="the road / the highway / the yellow line / the dust",
        sound="the engine / the radio / the wheels",
        place="the highway / the border / the open road",
        person="the drivers",
        feeling="freedom",
    ),
    Field(
        cues="train railway station rails locomotive commute",
        sight="the train / the rails / the passing fields",
        sound="the train / the whistle / the rails",
        place="the station / the platform",
    ),
    Field(
        cues="home house village hometown kitchen garden porch childhood grandmother grandma grandfather nostalgia",
        sight="the porch / the garden gate / the kitchen light / the photographs",
        sound="the kettle / the kitchen clock / the floorboards",
        place="the kitchen / the garden / the little town",
        person="my mother / my father",
    ),
    Field(
        cues="summer sun sunshine sunny holiday vacation july august heat",
        sight="the sun / the summer sky / the fields / the sunlight",
        sound="the summer / the ice cream truck / the crickets",
        place="the beach / the river / the meadow",
    ),
    Field(
        cues="winter snow cold december ice frost christmas",
        sight="the snow / the frost / the candle light / the frozen lake",
        sound="the snow / the bells / the choir",
        place="the frozen lake / the fire / the chapel",
    ),
    Field(
        cues="autumn fall leaves october november harvest",
        sight="the leaves / the fading light / the golden trees",
        sound="the leaves / the wind / the geese",
        place="the orchard / the woods / the meadow",
    ),
    Field(
        cues="spring flower flowers bloom rose roses april may",
        sight="the flowers / the rose / the apple tree",
        sound="the birds / the bees / the river",
        place="the garden / the meadow",
    ),
    Field(
        cues="mountain mountains hill climb forest tree trees wood river nature lake wild valley",
        sight="the mountains / the valley / the river / the trees",
        sound="the river / the wind / the falling stones",
        place="the valley / the river / the mountaintop",
    ),
    Field(
        cues="dance dancing party disco club dj weekend friday saturday festival",
        sight="the lights / the crowd / the mirror ball",
        sound="the beat / the bass / the music",
        place="the dance floor / the party",
        person="the dancers",
    ),
    Field(
        cues="music song guitar band piano drums singer singing radio record melody concert stage rock",
        sight="the band / the stage / the old guitar",
        sound="the music / the guitar / the melody / the drums",
        place="the stage / the music hall",
        person="the singer",
    ),
    Field(
        cues=(
            "friend friends friendship together brother sister family team mother father mum mom dad baby child "
            "children son"
        ),
        sight="the photographs / the table / your smile",
        sound="your laughter / the old jokes / your voice",
        place="the table / the garden",
        person="my brother / my sister / my oldest friend",
    ),
    Field(
        cues="dog cat puppy kitten pet bird horse animal animals",
        sight="the open gate / the muddy paws / the field",
        sound="the birds / the little paws",
        place="the meadow / the garden / the park",
        person="my oldest friend",
    ),
    Field(
        cues="war fight soldier battle revolution protest anger angry rage riot justice freedom system government",
        sight="the fire / the banners / the barricade",
        sound="the sirens / the shouting / the drums",
        place="the city square / the barricade",
        person="the people",
        feeling="justice / freedom",
    ),
    Field(
        cues="space planet rocket galaxy universe astronaut stars alien mars cosmos cosmic",
        sight="the stars / the planets / the silver moon / the comet",
        sound="the silence / the engines / the radio",
        place="the moon / the milky way",
    ),
    Field(
        cues="work job office boss money factory monday deadline coffee morning breakfast tea alarm",
        sight="the coffee / the morning light / the paper cups",
        sound="the telephone / the alarm / the clock",
        place="the office / the corner shop / the morning bus",
    ),
    Field(
        cues="computer robot internet phone machine code digital screen online game",
        sight="the screen / the blinking light / the signal",
        sound="the static / the signal / the machine",
        place="the network / the screen",
    ),
    Field(
        cues="school college student teacher graduation teenage young youth growing",
        sight="the yearbook / the schoolyard gate / the chalk",
        sound="the school bell / the laughter",
        place="the schoolyard / the bleachers / the old gym",
        person="my teacher / my oldest friends",
    ),
    Field(
        cues="god church faith prayer heaven angel angels gospel soul hope believe",
        sight="the light / the candle / the open sky",
        sound="the choir / the bells / the hymn",
        place="the chapel / the river",
        feeling="mercy / hope / faith",
    ),
    Field(
        cues="pizza food cake chocolate cheese cook cooking dinner bread soup ice-cream pancakes sandwich hungry",
        sight="the plate / the frosting / the table",
        sound="the oven bell / the frying pan",
        place="the kitchen / the table",
    ),
)

COMMON = Field(
    cues="",
    sight="the road / the open door / the evening light / the horizon",
    sound="the wind / the music / the bells",
    place="the river / the corner / the garden",
    person="my oldest friend",
)
"""What fills a song when the brief brings little of its own."""

CAPITALISED = _words(
    """
    monday tuesday wednesday thursday friday saturday sunday january february april june july august september october
    november december christmas
    """
)

TIMES = _words(
    """
    morning evening night midnight summer winter autumn spring weekend monday tuesday wednesday thursday friday
    saturday sunday christmas yesterday tomorrow dawn dusk sunrise sunset birthday january february april june july
    august september october november december
    """
)

FEELINGS = _words(
    """
     love hope faith freedom sorrow grief joy happiness sadness loneliness courage anger rage jealousy peace
     friendship nostalgia heartbreak devotion mercy justice pride kindness laughter solitude forgiveness gratitude
     """
)

PEOPLE = _words(
    """
     mother father mum mom dad brother sister son daughter grandmother grandma grandfather grandpa baby child children
     friend friends boy girl man woman men women king queen keeper sailor driver teacher doctor nurse farmer soldier
     captain stranger lover dancer singer painter baker boss neighbor husband wife dog cat puppy kitten horse bird
     uncle aunt cousin people kids kid dogs cats birds robot robots ghost astronaut pirate cowboy hero heroes
     """
)

PLACES = _words(
    """
     office factory hometown school church bar cafe diner hospital desert forest kitchen bridge room bedroom house
     home farm airport library museum mall supermarket beach island jungle market park prison castle village basement
     attic garage gym hotel motel cinema theater playground porch tower lighthouse garden city town
     """
)

TONE_CUES: dict[Tone, frozenset[str]] = {
    "hopeful": _words(
        """
     hope hopeful hopes uplifting optimistic believe rise rising triumph triumphant inspiring courage motivational
     positive victory recovery overcome survivor strong tomorrow
     """
    ),
    "tender": _words(
        """
        love tender romantic romance loving gentle wedding lullaby sweet valentine darling affectionate devotion warm
        baby kiss mother bride
        """
    ),
    "sad": _words(
        """
        sad sadness lonely loneliness heartbreak heartbroken breakup goodbye grief loss lost miss misses missing
        losing melancholy melancholic tears cry crying death funeral sorrow mournful divorce alone
        """
    ),
    "angry": _words(
        """
        angry anger rage furious protest revolution riot hate revenge betrayal betrayed lies rebel rebellious punk
        aggressive fury injustice
        """
    ),
    "playful": _words(
        """
        funny playful silly fun party happy joyful cheerful goofy humorous comic birthday joke kids pizza cartoon
        bouncy upbeat puppy kitten
        """
    ),
    "dreamy": _words(
        """
        dreamy dream dreams dreaming ethereal floating psychedelic ambient space hazy surreal cosmic shoegaze moon
        mystical stars
        """
    ),
}

GERUNDS = {
    form: gerund
    for gerund, forms in {
        "dancing": "dance dances danced", "driving": "drive drives drove", "waiting": "wait waits waited",
        "running": "run runs ran", "walking": "walk walks walked", "singing": "sing sings sang",
        "falling": "fall falls fell", "flying": "fly flies flew", "dreaming": "dream dreams dreamed",
        "sleeping": "sleep sleeps slept", "crying": "cry cries cried", "laughing": "laugh laughs laughed",
        "swimming": "swim swims swam", "sailing": "sail sails sailed", "riding": "ride rides rode",
        "working": "work works worked", "traveling": "travel travels traveled travelling",
        "fighting": "fight fights fought",
        "wandering": "wander wanders wandered", "drifting": "drift drifts drifted", "growing": "grow grows grew",
        "climbing": "climb climbs climbed", "playing": "play plays played", "cooking": "cook cooks cooked",
        "praying": "pray prays prayed", "hoping": "hope hopes hoped", "fishing": "fish", "skating": "skate skates",
        "surfing": "surf surfs surfed", "painting": "paint paints painted", "writing": "write writes wrote",
        "leaving": "leave leaves left", "returning": "return returns returned", "marching": "march marches marched",
        "cycling": "cycle cycles cycled", "jumping": "jump jumps jumped", "smiling": "smile smiles smiled",
        "burning": "burn burns burned", "shining": "shine shines shone", "rising": "rise rises rose",
    }.items()
    for form in (gerund, *forms.split())
}  # fmt: skip
"""What can be done without an object: every form in a brief and its gerund."""

VERBS = _words(
    """
    accept ask be become begin believe break bring build buy call care carry catch change chase choose come compose
    create describe discover do dump eat end escape explore express face feel find finish follow forget forgive get
    give go happen hate have hear help hold hug imagine include join keep know learn let lie like listen live look
    lose love make mean meet miss move need open overcome pass put quit reach read realize recall remember say search
    see seem sell send show sit sound spend stand start stay steal stop struggle survive take talk tell think throw
    try turn use visit wake want watch win wish wonder write yearn
    """
)
IRREGULAR_VERBS = _words(
    """
    am is are was were been being began begun broke broken brought built bought came chose done did does ate felt
    found forgot forgotten forgave got gave given goes went gone had has having heard held kept knew known learnt let
    lay lain lost made meant met ran read said sat saw seen sold sent spent stood stole stolen took taken told thought
    threw woke won wore written lived dying getting putting letting sitting winning stopping
    """
)

ADJECTIVES = _words(
    """
     abandoned ancient angry bad beautiful best big bitter black blue brave bright broken brown burning busy calm
     cheap clear cold cosy cozy crazy dark dead dear deep distant dusty early empty endless epic eternal faded
     faithful far favorite favourite fast final first forgotten foreign free fresh funny gentle golden good gray great
     green grey happy hard heavy hidden high honest hot huge innocent last late lazy little local lonely long lost
     loud lovely lucky mad magic midnight modern narrow new nice old only open perfect pink poor pretty proud purple
     quiet real red rich rusty sad same scared secret shy silent silly silver simple slow small soft sour strange
     strong sunny sweet tall tender tiny tired true ugly warm weak white whole wild wise wonderful wooden wrong yellow
     young heartbroken hopeful rainy snowy upbeat melancholic melancholy romantic nostalgic dreamy playful gloomy
     sleepy hungry thirsty
     """
)

POSSESSIVES = _words(
    """
     my our your his her their
     """
)
ARTICLES = _words(
    """
    the a an this that these those some every each another one two three
    """
)
SUBJECTS = _words(
    """
    i we you he she they it who which that to will would can could should must not never
    """
)

PASSED_OVER = _words(
    """
     i me we us you he him she they them it who whom whose which what where when why how and or but nor so if then
     than as at by for from in into of off on onto out over to up upon with without within about after again against
     all almost along already also always any anymore anyone anything around away back because before behind below
     beneath beside between beyond both down during else ever everyone everything few forever here however just later
     less let's many maybe mine more most much must near nearly never no nobody none not nothing now often once only
     other others outside inside perhaps please quite really since someone something sometimes somewhere soon still
     such there through throughout till together too toward towards under until very via well while will would can
     could should shall may might yes yet ago across like next own same song songs lyric lyrics verse verses chorus
     bridge hook intro outro tune track ballad anthem lullaby pop rock punk jazz blues folk country metal rap hip hop
     hiphop trap techno house edm indie soul funk reggae disco gospel rnb lofi lo fi genre style styled vibe mood tone
     feel feeling feelings theme themed tempo bpm beat slow-burning ballads upbeat write written sung sing make words
     text line lines rhyme rhymes english version kind sort type way thing things lot bit story tale minor major key
     acoustic electronic female male vocal vocals simple short long
     """
)
"""Words that join, or that speak about the song and not in it: never a topic, but a sign of an English brief."""
