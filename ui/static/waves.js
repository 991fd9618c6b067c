// What is told about recordings wherever they are drawn: the peaks of their samples, and times. And who sounds: of
// several players on the page one at a time.
(() => {
  "use strict";

  const PEAKS_HZ = 8000; // decoding at this rate keeps an hour of stereo within the memory of a phone
  const COLUMNS = 240;

  /** Minutes, seconds and tenths. */
  const clock = (seconds) => {
    const whole = Math.floor(seconds);
    const tenths = Math.floor((seconds - whole) * 10 + 1e-6);
    return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}.${tenths}`;
  };

  /** The peaks of a recording, left to right, and its length in seconds. Rejects where the browser cannot read it. */
  async function peaksOf(url) {
    const bytes = await (await fetch(url)).arrayBuffer();
    const audio = await new OfflineAudioContext(1, 1, PEAKS_HZ).decodeAudioData(bytes);
    const samples = audio.getChannelData(0);
    const peaks = new Float32Array(COLUMNS);
    samples.forEach((value, i) => {
      const column = Math.min(COLUMNS - 1, Math.floor((i * COLUMNS) / samples.length));
      peaks[column] = Math.max(peaks[column], Math.abs(value));
    });
    return { peaks, length: audio.duration };
  }

  const silencers = new Set();

  /** Lets the player that `hush` stops sound alone: all others are stopped. */
  function alone(hush) {
    silencers.add(hush);
    silencers.forEach((other) => other !== hush && other());
  }

  window.studio = { ...window.studio, clock, peaksOf, alone };
})();
