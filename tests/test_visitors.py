"""Two visitors of a page that strangers share: whatever one tries, the other's songs are neither read nor harmed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from library.companions import Companions
from library.records import Track
from library.tracks import COMPANIONS, TRASH, Library
from tests.conftest import ROOT, App, serving
from tests.tiny import save_stand_in
from tests.visitor import Visitor
from ui.panes import SEND_TO
from ui.settings import Settings, encode

SECRETS = ("zanzibar", "quokka", "firkin", "what they call it")
"""Words of the prompt, the lyrics and the name of the victim's song, none of which the thief says."""

ANSWER_S = 60


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What the thief knows: the page, where it keeps its files, and every name of a song that is not theirs."""

    app: App
    victim: Visitor
    thief: Visitor
    song: Track
    gone: Track
    mine: Track
    asked: Mapping[str, object]

    def get(self, path: str) -> httpx.Response:
        """What the page answers to anybody who asks for that path."""
        return httpx.get(f"{self.app.url}{path}", timeout=ANSWER_S)

    def file(self, path: Path | str) -> str:
        """A file by its name; whatever is sent is the victim's."""
        answer = self.get(f"/gradio_api/file={path}")
        return SECRETS[0] if answer.is_success else answer.text


def track_of(said: str, app: App) -> Track:
    """The track that a job says it made."""
    ids = [track for track in Library(app.outputs).list() if track.id in said]
    assert len(ids) == 1, said
    return ids[0]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A hosted page with a song of the victim and what was made of it, one that was deleted, and one of the thief."""
    home = tmp_path_factory.mktemp("hosted")
    nano = save_stand_in(home / "nano")
    hosted = {"SPACE_ID": "somebody/studio", "ACE_NANO_DIR": str(nano)}
    with serving(home, ROOT / "app.py", "--host", "127.0.0.1", environment=hosted) as app:
        victim, thief = Visitor(app.url), Visitor(app.url)
        for visitor in (victim, thief):
            visitor.load()
        asked = {"duration_s": 10, "inference_steps": 1, "lyrics": "[verse]\nquokka firkin\n"}
        song, gone = (track_of(victim.ask("generate", prompt=f"zanzibar {n}", seed=n, **asked), app) for n in (1, 2))
        victim.fire("answer", {"deed": "rename", "id": song.id, "name": "what they call it"})
        for action in ("export", "lrc"):
            assert "made" in victim.ask(action, track=song.id)
        victim.fire("answer", {"deed": "delete", "id": gone.id})
        mine = track_of(thief.ask("generate", prompt="mine", seed=3, duration_s=10, inference_steps=1), app)
        yield Scene(app=app, victim=victim, thief=thief, song=song, gone=gone, mine=mine, asked=asked)


def shown(track: Track, *, takes: tuple[str, ...] = ()) -> dict[str, object]:
    """A song's metadata as a page would send them."""
    return {"id": track.id, "takes": [track.id, *takes], "seed": track.seed, "mode": "generate"}


def recall(track: Track, *takes: str) -> dict[str, object]:
    """What the history and the Library ask the hub for."""
    return {"kind": "song", "id": track.id, "takes": takes or [track.id], "turn": True}


def file(path: Path) -> dict[str, object]:
    """A file as Gradio's clients name one that was uploaded."""
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}}


def restored(scene: Scene, path: Path) -> str:
    return scene.thief.fire("hub.release", {"kind": "restore", "modes": {"cover": {"src_audio": str(path)}}})


def link(scene: Scene, token: str) -> str:
    text = encode(Settings(mode="generate", values={"prompt": "rain"}, song=token))
    return scene.thief.fire("hub.release", {"kind": "link", "text": text})


def uploaded(scene: Scene, path: Path) -> str:
    """Where an upload lies."""
    with path.open("rb") as content:
        answer = httpx.post(f"{scene.app.url}/gradio_api/upload", files={"files": content}, timeout=ANSWER_S)
    return str(answer.json()[0])


def deed(deed: str, **values: object) -> Callable[[Scene], str]:
    return lambda scene: scene.thief.fire(
        "answer", {"deed": deed, "id": scene.song.id, "ids": [scene.song.id, scene.gone.id], **values}
    )


def made_of(scene: Scene) -> list[Path]:
    return [each for made in Companions(scene.app.outputs / COMPANIONS).of(scene.song.sha256) for each in made.files]


WAYS: dict[str, Callable[[Scene], str]] = {
    # by the names of files
    "the recording by its path": lambda s: s.file(s.song.path),
    "the sidecar by its path": lambda s: s.file(s.song.sidecar),
    "the latents by their path": lambda s: s.file(s.song.latents_path),
    "what was made of it by its path": lambda s: "".join(map(s.file, made_of(s))),
    "what was deleted by its path": lambda s: s.file(s.app.outputs / TRASH / s.gone.id / s.gone.path.name),
    "the index": lambda s: s.file(s.app.outputs / "index.sqlite"),
    "the secret of links": lambda s: s.file(s.app.outputs / ".share-key"),
    "a path that leaves an open folder": lambda s: s.file(
        f"{s.app.outputs.parent}/uploads/../outputs/{s.song.path.name}"
    ),
    "a path beside the program": lambda s: s.file(f"outputs/{s.song.path.name}"),
    "a path whose letters are written as numbers": lambda s: s.file(str(s.song.path).replace("outputs", "%6futputs")),
    "the old address of files": lambda s: SECRETS[0] if "RIFF" in s.get(f"/file={s.song.path}").text else "",
    "the metadata that the victim has": lambda s: s.file(s.app.outputs.parent / "uploads" / f"{s.song.id}.json"),
    "a path that is sent as an upload": lambda s: s.thief.ask("cover", src_audio=file(s.song.path), prompt="x"),
    "a path that is sent as an upload of an action": lambda s: s.thief.ask("lrc", audio=file(s.song.path)),
    "a path among what a browser kept": lambda s: restored(s, s.song.path),
    "a path of what was made of it": lambda s: "".join(restored(s, each) for each in made_of(s)),
    "a path in a preset": lambda s: s.thief.fire(
        "hub.release", {"kind": "preset", "mode": "cover", "values": {"src_audio": str(s.song.path)}}
    ),
    "a path that is brought in": deed("import", paths=["/etc/passwd"]),
    "a path as an adapter": lambda s: s.thief.ask("generate", prompt="x", adapters=f"{s.song.latents_path}"),
    # by its id
    "the history": lambda s: s.thief.fire("hub.release", recall(s.song)),
    "the history with takes of the victim": lambda s: s.thief.fire(
        "hub.release", recall(s.song, s.song.id), "Lock seed", shown(s.song)
    ),
    "that song as a take of mine": lambda s: s.thief.fire(
        "hub.release", recall(s.mine, s.mine.id, s.song.id), "", shown(s.song)
    ),
    "the other take": lambda s: s.thief.fire("takes.input", s.song.id, shown(s.mine, takes=(s.song.id,))),
    "a song that a job is said to have made": lambda s: s.thief.fire("show", shown(s.song), None),
    "a sound that an action is said to be of": lambda s: s.thief.fire("show_made", {"song": s.song.sha256}),
    "what an action made": lambda s: s.thief.fire("show_5", s.song.id),
    "its stems": lambda s: s.thief.fire("stems.select", s.song.id, told={"stem": "vocals", "mode": "cover"}),
    "a search": lambda s: s.thief.fire(".tick", {"words": "quok", "weigh": True, "among": [s.song.id]}),
    "its waveform": lambda s: str(s.thief.fire(".expand", [s.song.id])).replace(f'"{s.song.id}"', SECRETS[0]),
    "whether it can be made again": lambda s: s.thief.fire(".retry", s.song.id).replace("Same samples", SECRETS[0]),
    "a comparison": lambda s: s.thief.fire("compare.select", told={"a": s.song.id, "b": s.mine.id}),
    "a comparison with its source": lambda s: s.thief.fire("compare.select", told={"a": "", "b": s.song.id}),
    "a retake": lambda s: s.thief.fire("again", shown(s.song)),
    "its plan": lambda s: s.thief.fire("reuse-plan.click", shown(s.song)),
    "a link of it": lambda s: s.thief.fire("share.release", shown(s.song)).replace("1.", SECRETS[0]),
    "sending it to a form": lambda s: "".join(s.thief.fire(f"send-{mode}.click", shown(s.song)) for mode in SEND_TO),
    "its words in time": lambda s: s.thief.ask("lrc", track=s.song.id),
    "an export": lambda s: s.thief.ask("export", track=s.song.id),
    "a copy at another loudness": lambda s: s.thief.ask("normalise", track=s.song.id),
    # by what is not theirs to say
    "a link with a seal of their own": lambda s: link(s, f"{s.song.id}.{'A' * 43}"),
    "a link without a seal": lambda s: link(s, s.song.id),
    "the job of a browser that is guessed": lambda s: s.thief.fire("resume", s.song.id),
    "the page of no browser": lambda s: s.thief.fire("load", ""),
    "the page of a browser named after the song": lambda s: s.thief.fire("status.focus", s.song.id),
    "the events of another session": lambda s: s.get(f"/gradio_api/queue/data?session_hash={s.song.id}").text,
    "the state of the page": lambda s: s.get("/config").text + s.get("/gradio_api/info").text,
    # by what both of them have
    "the words to a recording that was given away": lambda s: s.thief.ask(
        "lrc", audio=file(Path(uploaded(s, s.song.path)))
    ),
    "a cover of a recording that was given away": lambda s: s.thief.ask(
        "cover", src_audio=file(Path(uploaded(s, s.song.path))), inference_steps=1, prompt="x"
    ),
    # to harm
    "another name": deed("rename", name="mine now"),
    "a favourite": deed("favour", on=True),
    "the trash": deed("delete"),
    "back from the trash": deed("restore"),
    "an empty trash": deed("empty"),
    "a bound of the disk": deed("bound", bound=0.001),
    "a smaller library": deed("prune"),
}


def kept(scene: Scene) -> dict[str, bytes]:
    """The files of the victim's songs."""
    names = (scene.song.id, scene.gone.id, scene.song.sha256)
    return {
        str(path): path.read_bytes()
        for path in sorted(scene.app.outputs.rglob("*"))
        if path.is_file() and any(name in str(path) for name in names)
    }


@pytest.mark.parametrize("way", WAYS)
def test_no_way_leads_to_the_songs_of_another_visitor(scene: Scene, way: str) -> None:
    before = kept(scene)
    said = WAYS[way](scene)
    assert not [word for word in SECRETS if word in said], said[:2000]
    assert before.items() <= kept(scene).items()


def test_whoever_made_a_song_has_it_whole_and_whoever_is_given_its_link_hears_it(scene: Scene) -> None:
    """What is closed to strangers is open to whom it belongs: else the test above proves nothing."""
    victim, song = scene.victim, scene.song
    recalled = victim.fire("hub.release", recall(song))
    assert all(word in recalled for word in SECRETS)
    addresses = {each for each in recalled.split('"') if each.startswith("http") and song.path.name in each}
    heard = [httpx.get(each, timeout=ANSWER_S) for each in addresses]
    assert heard and all(each.content == song.path.read_bytes() for each in heard)
    assert "quokka" in victim.fire(".tick", {"words": "zanzibar"}) or song.id in victim.fire(
        ".tick", {"words": "zanzibar"}
    )
    assert "made" in victim.ask("lrc", track=song.id)
    text = json.loads(victim.fire("share.release", shown(song)))["data"][0]
    friend = Visitor(scene.app.url)
    opened = friend.fire("hub.release", {"kind": "link", "text": text})
    assert song.path.name in opened and "zanzibar" in opened
    assert "made" in friend.ask("export", track=song.id)
    assert "must be the id" in friend.fire("answer", {"deed": "delete", "id": song.id})
    assert song.id not in friend.fire(".tick", {})


def test_a_visitor_who_comes_back_has_what_was_made_before_and_the_same_request_of_two_gives_two_songs(
    scene: Scene,
) -> None:
    again = Visitor(scene.app.url)
    again.browser = scene.victim.browser
    assert scene.song.id in json.dumps(again.load()["history"])
    asked = {"prompt": "zanzibar 1", "seed": 1, **scene.asked}
    other = Visitor(scene.app.url)
    other.load()
    theirs = track_of(other.ask("generate", **asked), scene.app)
    assert theirs.id != scene.song.id and theirs.sha256 == scene.song.sha256
    shown_to_the_other = other.fire("hub.release", recall(theirs))
    assert "what they call it" not in shown_to_the_other and "what-they" not in shown_to_the_other
    assert track_of(again.ask("generate", **asked), scene.app).id == scene.song.id
