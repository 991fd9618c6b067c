"""A brief in another language: noticed, refused by who knows English only, and never where it is English."""

from __future__ import annotations

import pytest

from backend import Studio
from core.drafts import Draft, InspireRequest
from core.errors import RequestError
from core.knobs import parse
from core.lyrics import LyricsRequest
from lyrics.foreign import is_foreign
from ui import idle

FOREIGN = """una canción sobre la lluvia en la ciudad
canción de amor en París
Ein Lied über den Regen
une chanson sur la pluie à Paris
una canzone per mia madre che dorme
um samba sobre o mar e a saudade
een liedje over de zee en mijn moeder
en sång om havet och min mor
piosenka o deszczu i o mojej mamie
píseň o dešti a o lásce
yağmur hakkında bir şarkı
sade kattojen yllä ja meri
lagu tentang hujan dan aku
một bài hát về mưa
o melodie despre ploaie și despre mine
雨の夜の歌
дождь над городом
أغنية عن المطر
वर्षा का गीत""".splitlines()

ENGLISH = """rain
love
dog Biscuit
i o u
déjà vu in a café
bossa nova
reggaeton perreo
chanson française
Schlager über-cheesy
Das Boot
Mariachi de la Noche
song for Maria de la Cruz at the fiesta
La Vie en rose, but slow and sad
Édith Piaf on the Seine
Sigur Rós, Björk
K-pop ballad about 사랑
die young
an ode to man in war
my abuela and her empanadas
samba de roda in Salvador da Bahia with my tio João
quiero bailar contigo, a summer hit about dancing
el amor prohibido between two rival families
Don't let me die, mon amour
Les Paul guitar solo""".splitlines()


def test_other_languages_are_told_from_english_with_foreign_names_in_it() -> None:
    assert [brief for brief in FOREIGN if not is_foreign(brief)] == []
    assert [brief for brief in ENGLISH if is_foreign(brief)] == []


def test_the_built_in_writer_says_before_and_at_the_run_that_it_knows_english_only(studio: Studio) -> None:
    values = {"brief": FOREIGN[0]}
    rule = "must be in English: the built-in writer knows no other language"
    assert idle.hints(studio, "lyrics", values) == {"brief": f"It {rule}."}
    assert idle.hints(studio, "lyrics", {"brief": ENGLISH[0]}) == {}
    with pytest.raises(RequestError, match="Write it in English, or bring a writer here") as refused:
        list(studio.run(parse(LyricsRequest, values)))
    assert [(fault.field, fault.rule) for fault in refused.value.faults] == [("brief", rule)]


def test_the_built_in_drafter_leaves_the_words_of_another_language_alone(studio: Studio) -> None:
    draft = list(studio.run(parse(InspireRequest, {"query": FOREIGN[0], "seed": 1})))[-1]
    assert isinstance(draft, Draft)
    assert draft.music.lyrics == "" and draft.music.language is None
    assert any("its words would be English" in note for note in draft.notes)
