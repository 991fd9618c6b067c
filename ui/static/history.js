// The history: what a recalled song overwrote can be put back, and it is as new as the library when the page comes to
// the front.
(() => {
  "use strict";

  const MADE = "ace-music-studio-made";

  let before = null; // what the forms held before songs were recalled
  let after = null; // and what the last of them put there
  let now = null; // what they hold as it is to be undone
  let isElsewhere = false; // whether another song was picked while a job ran
  let note = null;
  let ofSong = ""; // what there is to say of a recalled song

  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
  const isBusy = () => document.getElementById("desk").classList.contains("busy");

  function tell(isUndoable, words = ofSong) {
    if (!note) return;
    note.hidden = !isUndoable;
    note.querySelector("p").textContent = words;
  }

  /** Remembers what the forms hold; going from song to song counts as one step. */
  function keep(values) {
    if (!before || !same(values, after)) before = values;
    return [];
  }

  /** Remembers what a song, or what these words tell of, put there, and offers to undo it. */
  function recalled(values, words) {
    after = values;
    tell(!same(before, after), words);
    return [];
  }

  /** What the forms held before, but for what was changed by hand since. */
  function undone() {
    const values = now.map((value, i) => (same(value, after[i]) ? before[i] : value));
    before = null;
    tell(false);
    return values;
  }

  function undoable(element, trigger) {
    note = element.querySelector(".recalled");
    ofSong = note.querySelector("p").textContent;
    note.querySelector("button").addEventListener("click", async () => {
      now = await studio.collect();
      trigger("undo");
    });
  }

  /** The song that the user has turned to since the job began; null where its own song is awaited. */
  function elsewhere(shown) {
    const song = isElsewhere ? shown : null;
    isElsewhere = false;
    return song;
  }

  /** Notes that the user turns to another song: that of a running job goes to the history. */
  function turn() {
    isElsewhere = isBusy();
    studio.aside();
  }

  document.addEventListener("change", ({ target }) => {
    if (target.closest?.("#history, #takes")) turn();
  });
  document.addEventListener("click", ({ target }) => {
    if (target.closest?.("#dock .run, #retake, #progress .back")) isElsewhere = false;
    if (!target.closest?.("#dock .run, #retake")) return;
    before = null;
    tell(false);
  }, true);

  /** Triggers `focus` whenever the page comes to the front. */
  function front(trigger) {
    const come = () => document.visibilityState === "visible" && trigger("focus");
    document.addEventListener("visibilitychange", come);
    addEventListener("focus", come);
    // Another tab of this browser has made a song.
    addEventListener("storage", ({ key }) => key === MADE && trigger("focus"));
  }

  /** Lets the other tabs of this browser know that there is a new song. */
  function announce() {
    try {
      localStorage.setItem(MADE, String(Date.now()));
    } catch {
      // a browser that keeps nothing
    }
  }

  Object.assign(window.studio, { keep, recalled, undone, undoable, elsewhere, turn, front, announce });
})();
