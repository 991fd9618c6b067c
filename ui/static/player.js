// The large player, whose sound belongs to Gradio (seen in 6.31, over WaveSurfer 7): what others want of it. Where its
// inside is another than this, it plays as ever, and nothing follows it.
(() => {
  "use strict";

  const whole = () => document.getElementById("player");
  const lever = () => whole()?.querySelector(".play-pause-button");
  const wave = () => whole()?.querySelector("#waveform");
  const media = () => wave()?.firstElementChild?.shadowRoot?.querySelector("audio");

  const isPlaying = () => lever()?.ariaLabel === "Pause";

  /** Stops it. */
  function hush() {
    if (isPlaying()) lever().click();
  }

  /** Where it is, in seconds. */
  const place = () => media()?.currentTime ?? 0;

  /** Moves it to a place. */
  function seek(seconds) {
    if (media()) media().currentTime = seconds;
  }

  /** Calls back on every frame while it plays, and whenever it was moved. */
  function follow(call) {
    const player = whole();
    if (!player) return () => {};
    let isRunning = false;
    const frame = () => {
      isRunning = player.isConnected && isPlaying();
      call();
      if (isRunning) requestAnimationFrame(frame);
    };
    const facts = { subtree: true, childList: true, characterData: true, attributeFilter: ["aria-label"] };
    const observer = new MutationObserver(() => isRunning || frame());
    observer.observe(player, facts);
    return () => observer.disconnect();
  }

  window.studio = { ...window.studio, player: { whole, wave, isPlaying, hush, place, seek, follow } };
})();
