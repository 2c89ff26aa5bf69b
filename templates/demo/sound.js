// A microphone's sound as a WAV file: what a browser records by itself (WebM) few libraries read.
const seconds = n => `${Math.floor(n / 60)}:${String(Math.floor(n % 60)).padStart(2, "0")}`;

export function wav(samples, rate) {   // samples: from -1 to 1
  const bytes = new DataView(new ArrayBuffer(44 + 2 * samples.length)), word = (at, text) => [...text].forEach((c, k) => bytes.setUint8(at + k, c.charCodeAt(0)));
  word(0, "RIFF"); bytes.setUint32(4, 36 + 2 * samples.length, true); word(8, "WAVEfmt ");
  bytes.setUint32(16, 16, true); bytes.setUint16(20, 1, true); bytes.setUint16(22, 1, true);
  bytes.setUint32(24, rate, true); bytes.setUint32(28, 2 * rate, true); bytes.setUint16(32, 2, true); bytes.setUint16(34, 16, true);
  word(36, "data"); bytes.setUint32(40, 2 * samples.length, true);
  samples.forEach((v, k) => bytes.setInt16(44 + 2 * k, Math.round(32767 * Math.max(-1, Math.min(1, v))), true));
  return new Blob([bytes], {type: "audio/wav"});
}

const asURI = blob => new Promise((done, stop) => { const r = new FileReader(); r.onload = () => done(r.result); r.onerror = () => stop(r.error); r.readAsDataURL(blob); });

export function recorder(root, take) {
  const button = root.querySelector("[data-record]"), said = root.querySelector("[data-recording]");
  if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) return;   // only over https and on this machine
  let running = null;
  button.hidden = false;
  button.addEventListener("click", async () => {
    if (running) return running.stop();
    let stream;
    try { stream = await navigator.mediaDevices.getUserMedia({audio: true}); }
    catch { said.textContent = "The browser gives no microphone."; return; }
    const parts = [], began = performance.now();
    running = new MediaRecorder(stream);
    const timer = setInterval(() => { said.textContent = seconds((performance.now() - began) / 1000); }, 200);
    running.addEventListener("dataavailable", e => parts.push(e.data));
    running.addEventListener("stop", async () => {
      clearInterval(timer);
      for (const track of stream.getTracks()) track.stop();
      running = null;
      button.textContent = "Record";
      said.textContent = "";
      const audio = new AudioContext();
      try {
        const buffer = await audio.decodeAudioData(await new Blob(parts).arrayBuffer());
        take(await asURI(wav(buffer.getChannelData(0), buffer.sampleRate)));
      } catch { said.textContent = "Nothing was recorded."; }
      audio.close();
    });
    running.start();
    button.textContent = "Stop";
  });
}
