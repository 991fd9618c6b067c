"""The words of the page: a label and one sentence for every knob, a title for every mode. Imports nothing."""

MODES = {
    "generate": ("Generate", "A new song from a style and words"),
    "cover": ("Cover", "The shape of one recording in another style"),
    "extend": ("Extend", "More of a recording, after its end or before its start"),
    "edit": ("Edit", "A stretch of a recording made anew, or several at once"),
    "lyrics": ("Lyrics", "Words for a song from a brief"),
}

DRAFTS = {
    "inspire": ("Draft", "The form of Generate filled in from one line"),
    "enhance": ("Enhance", "A fuller prompt, and lyrics set in sections; what is given stays"),
    "understand": ("Understand", "What a recording is: tempo, key and, with planner weights, its words"),
}

ACTIONS = {
    "stems": ("Stems", "The song taken apart: vocals, drums, bass and everything else, each a file of its own"),
    "normalise": ("Normalise", "The song as loud as the services play it, and no peak above the ceiling"),
    "export": ("Export", "A tagged file with a cover to give away: wav, flac, mp3, ogg or opus"),
    "notes": ("Notes", "The notes of a song that nano composed, as a MIDI file"),
    "lrc": ("Lyric times", "When each line of the lyrics is sung, as an lrc file"),
}

USES = {
    "song": ("Songs", "Render songs. Where nobody names one the studio takes the best that is here."),
    "companion": ("Companion", "What the 2B checkpoints need beside them; it comes with the first of them."),
    "planner": ("Planners", "Decide notes, form and facts before a song is rendered; drafts are better with one too."),
    "lyrics": (
        "Lyric writers",
        "Write words in many languages. Without one the built-in writer serves, in English.",
    ),
    "stems": ("Stem separator", "Takes a song apart into vocals, drums, bass and everything else."),
}
"""What checkpoints are for, by their use."""

PLAN = ("Plan only", "The plan of a song without the song: its facts and, from a planner model, its audio codes")

KNOBS = {
    "track": ("Track", "The id of a song in the library."),
    "audio": ("Recording", "Any recording instead of a track: wav, flac, mp3, ogg or m4a."),
    "shifts": (
        "Shifts",
        "Passes at shifted times, averaged: each makes stems a little better and takes as long.",
    ),
    "overlap": ("Stem overlap", "The share of a segment that its neighbours hear too: more is smoother and slower."),
    "lufs": ("Loudness", "Integrated loudness: most services play at -14; left empty, an export stays as it is."),
    "ceiling_db": (
        "Ceiling",
        "True peak that nothing goes beyond: lossy formats need a little room below 0.",
    ),
    "format": ("Format", "What the file is: lossless for work, mp3 for everyone, opus for the smallest files."),
    "start_s": ("Start", "Where the export begins in the song, in seconds."),
    "end_s": ("End", "Where the export ends in the song, in seconds; empty takes all of it."),
    "fade_in_s": ("Fade in", "Seconds over which the export rises from silence."),
    "fade_out_s": ("Fade out", "Seconds over which the export falls to silence."),
    "query": ("Line", "What the song should be, in a few words; empty leaves it to the dice."),
    "edit.lyrics": ("Lyrics", "What is sung in what is new, under section tags; empty makes it instrumental."),
    "understand.src_audio": ("Recording", "The recording to listen to: wav, flac, mp3, ogg or m4a."),
    "prompt": ("Style prompt", "Genre, instruments, mood and tempo, as you would tell a band."),
    "lyrics": ("Lyrics", "Words under section tags such as [verse] and [chorus]; empty makes an instrumental."),
    "duration_s": ("Length", "Seconds of music; empty lets the planner choose."),
    "instrumental": ("Instrumental", "No singing: the words of the lyrics are not sung."),
    "src_audio": ("Source audio", "The recording to work on: wav, flac, mp3, ogg or m4a."),
    "reference_audio": ("Reference audio", "A recording whose sound the cover should take on; its notes are not used."),
    "audio_cover_strength": (
        "Cover strength",
        "How much of the denoising follows the source: 1 to the end, 0 not at all.",
    ),
    "cover_noise_strength": (
        "Source in the noise",
        "How far the source itself, not only its structure, is the starting point: 0 starts from pure noise.",
    ),
    "cover_structure": (
        "Structure",
        "How the source is shown to the model: as audio codes (structure alone) or raw latents (nearer its sound).",
    ),
    "task_type": (
        "Task",
        "Cover the source, add a track to it (lego), lift one out (extract) or fill up the band (complete).",
    ),
    "tracks": ("Tracks", "The instruments that the task is about, separated by commas, such as drums, bass."),
    "extra_duration_s": ("Extra length", "Seconds of music to add."),
    "side": ("Side", "Add the new music after the end or before the start."),
    "overlap_s": ("Overlap", "Seconds of the source next to the seam that are made anew, so that the music flows on."),
    "crossfade_s": ("Crossfade", "Seconds over which the source fades into the new music, before the overlap begins."),
    "segment_start_s": ("From", "Where the stretch to be made anew begins, in seconds."),
    "segment_end_s": ("To", "Where the stretch to be made anew ends, in seconds."),
    "more_segments": (
        "More stretches",
        "What else is made anew in the same run: from-to, from-to, such as 12-20, 0:40-1:05.",
    ),
    "edit_mode": (
        "Kind of edit",
        "Repaint makes the stretch anew; flow turns what is there from the source's words into the new ones.",
    ),
    "repaint_mode": (
        "Repaint mode",
        "Conservative holds on to the surroundings while denoising, aggressive lets go, balanced lies between.",
    ),
    "repaint_strength": ("Repaint strength", "In the balanced mode: 0 is as conservative, 1 as aggressive as it gets."),
    "source_prompt": ("Source prompt", "What the source sounds like now: a flow edit starts from these words."),
    "source_lyrics": ("Source lyrics", "What is sung in the source now: a flow edit starts from these words."),
    "n_min": (
        "Morph from",
        "The part of the denoising that a flow edit skips at its start: more keeps more of the source.",
    ),
    "n_max": ("Morph to", "The part of the denoising after which a flow edit lets the new words render freely."),
    "n_avg": ("Morph draws", "Noise draws averaged in every step of a flow edit: more is smoother and slower."),
    "bpm": ("Tempo", "Beats per minute; empty lets the planner choose."),
    "keyscale": ("Key", "Key and scale; auto lets the planner choose."),
    "timesignature": ("Metre", "Beats in a bar; auto lets the planner choose."),
    "vocal_language": ("Language", "The language that is sung; auto names none to the model."),
    "checkpoint": ("Checkpoint", "The weights that render the song; auto takes the one that the studio runs on."),
    "seed": ("Seed", "The same seed and settings give the same result; empty draws one and shows it."),
    "inference_steps": ("Steps", "Denoising steps: more is finer and slower; empty takes the checkpoint's own number."),
    "guidance_scale": (
        "Guidance",
        "How hard the words pull: 1 switches guidance off; empty takes the checkpoint's own.",
    ),
    "infer_method": ("Method", "ODE denoises straight; SDE draws fresh noise in every step."),
    "solver": ("Solver", "The rule of one step: heun costs two evaluations, pingpong is the SDE rule."),
    "chunk_mask": (
        "Mask",
        "Explicit tells the model which frames are to change; model leaves that to the model (upstream's auto).",
    ),
    "retake_variance": (
        "Retake variance",
        "How far a retake may wander from the seed's noise: 0 not at all, 1 to another seed.",
    ),
    "retake_seed": ("Retake seed", "The second seed that a retake wanders towards; empty draws one."),
    "variations": ("Variations", "Songs made side by side, with seeds counting up from the first."),
    "preview": (
        "Preview",
        "Lets you hear a stretch of the song while it is being made; takes up to a tenth longer.",
    ),
    "cfg_interval_start": ("Guidance from", "The part of the denoising after which guidance acts: 0 is the start."),
    "cfg_interval_end": ("Guidance to", "The part of the denoising after which guidance stops: 1 is the end."),
    "guidance_rule": ("Guidance rule", "APG damps what plain CFG overdoes; auto takes APG."),
    "use_adg": ("Angle-based guidance", "Guides by the angle between the two predictions instead of their difference."),
    "shift": (
        "Shift",
        "Above 1 spends more steps on the noisy part, where the form is decided; empty takes the checkpoint's own.",
    ),
    "schedule": ("Schedule", "How the noise falls over the steps; auto takes the checkpoint's own."),
    "timesteps": (
        "Custom timesteps",
        "Your own noise levels, falling from 1 to 0, separated by commas; replaces steps, shift and schedule.",
    ),
    "dcw_enabled": (
        "Correction",
        "Pushes each step away from the clean sound it predicts, which keeps the noise on its schedule (DCW).",
    ),
    "dcw_mode": (
        "Corrected",
        "Double corrects slow and quick changes, low or high one of them, pix the latents as they are.",
    ),
    "dcw_scaler": (
        "Correction strength",
        "How strongly the mode's changes are corrected, in double the slow ones: 0 is none, 0.1 is much.",
    ),
    "dcw_high_scaler": (
        "Strength on quick changes",
        "How strongly the mode double corrects the quick changes, most of all in the late steps.",
    ),
    "dcw_wavelet": ("Wavelet", "How slow and quick changes are told apart: haar, or a longer and smoother one."),
    "adapters": (
        "Adapters",
        "LoRA, LoKr, LoHa, DoRA on top of the checkpoint: a preset or a file in each line, weighed as in warm = 0.8.",
    ),
    "thinking": ("Plan first", "Lets the planner decide notes and form before the song is rendered."),
    "use_cot_metas": (
        "Plan the facts",
        "The planner decides tempo, key, metre and length where they are empty; off, it writes the codes at once.",
    ),
    "use_cot_caption": (
        "Rewrite the prompt",
        "The planner writes a fuller style prompt, which the song follows; off, yours is kept word for word.",
    ),
    "use_cot_language": ("Detect the language", "The planner decides the language of the words where it is empty."),
    "lm_cfg_scale": (
        "Planner guidance",
        "How strongly the codes follow prompt, lyrics and facts instead of what is likely without any: 1 is off.",
    ),
    "lm_negative_prompt": ("Planner avoids", "A style that the planner's guidance leads away from."),
    "lm_closed_turn": (
        "Close the planner's turn",
        "Ends the planner's turn before its codes. It was trained with the turn open: an experiment.",
    ),
    "plan": (
        "Plan",
        "A plan to follow, such as one of an earlier song, edited or not: lines like bpm: 92, and codes: 12 55.",
    ),
    "planner": ("Planner", "The language model that plans and drafts; auto takes the best that is installed."),
    "lm_temperature": ("Planner temperature", "How daring the planner is: 0 takes the likeliest token every time."),
    "lm_top_p": (
        "Planner top p",
        "Tokens are drawn from the likeliest that together have this probability: 1 takes all.",
    ),
    "lm_top_k": ("Planner top k", "Tokens are drawn from so many of the likeliest: 0 sets no limit."),
    "lm_repetition_penalty": (
        "Planner repetition penalty",
        "How much less likely a token gets once it has been written: 1 is not.",
    ),
    "brief": ("Brief", "What the song is about, for whom, and how it should feel."),
    "structure": ("Structure", "The sections in order, separated by commas, such as verse, chorus, verse."),
    "tone": ("Tone", "The mood of the words; auto reads it from the brief where it can."),
    "rhyme": ("Rhyme", "Strict rhymes fully, loose takes near-rhymes too, none leaves the line ends free."),
    "lines_verse": ("Lines per verse", "How many lines every verse has."),
    "lines_chorus": ("Lines per chorus", "How many lines every chorus has; its hook comes back in each of them."),
    "lines_bridge": ("Lines per bridge", "How many lines the bridge has."),
    "lyrics.vocal_language": ("Language", "The language of the words; auto takes that of the brief."),
    "writer": ("Writer", "Who writes: a language model, or the built-in writer; auto takes the best that is there."),
    "temperature": (
        "Temperature",
        "How daring the choice of tokens is: 0 takes the likeliest; empty is the checkpoint's.",
    ),
    "top_k": ("Top k", "Tokens are drawn from so many of the likeliest: 0 sets no limit; empty is the checkpoint's."),
    "lyrics.temperature": ("Temperature", "How daring the choice of words is: 0 takes the likeliest every time."),
    "top_p": ("Top p", "Words are drawn from the likeliest that together have this probability: 1 takes all of them."),
    "lyrics.top_k": ("Top k", "Words are drawn from so many of the likeliest: 0 sets no limit."),
    "repetition_penalty": (
        "Repetition penalty",
        "How much less likely a word gets once it has been written: at 1 it stays as it is.",
    ),
    "max_new_tokens": ("Longest text", "The writer stops after so many tokens, of which a line takes about ten."),
    "lyrics.seed": ("Seed", "The same seed and settings give the same words; empty draws one and shows it."),
}


def of(mode: str, knob: str) -> tuple[str, str]:
    """Label and sentence of a knob; an entry `mode.knob` wins, for a name that means something else in that mode."""
    return KNOBS.get(f"{mode}.{knob}") or KNOBS[knob]


VIEWS = {
    "library": ("Library", "Every song that was made here, to be found and heard again"),
    "models": ("Models", "The weights that are here, and those that can be brought"),
}
"""Title and sentence of each view, by its name in the rail."""

LIBRARY_KEYS = "Arrows move, Enter opens, F favourites, F2 renames, Delete deletes."
"""What the keyboard does in the list of songs."""


RECORDING = ("Recording", "A file that was brought in")


def title(name: str) -> tuple[str, str]:
    """Title and sentence of a request, by the name of its endpoint, of a view, or of where a song comes from."""
    return {**MODES, **DRAFTS, **ACTIONS, "plan": PLAN, **VIEWS, "recording": RECORDING}[name]
