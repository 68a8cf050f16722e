// Records the microphone as a 16-bit mono WAV.
const SAMPLE_BYTES = 2;
const HEADER_BYTES = 44;
const LAST_PIECE_MS = 1000; // it comes at once, unless the browser has stopped the microphone itself

export class Recorder {
  #context;
  #stream;
  #node;
  #ended;
  #pieces = [];

  // `onLevel` gets (peak 0…1, seconds so far) several times a second.
  async start(onLevel) {
    this.#pieces = [];
    this.#stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true } });
    this.#context = new AudioContext();
    try {
      await this.#context.audioWorklet.addModule("/page/recorder-worklet.js");
      this.#node = new AudioWorkletNode(this.#context, "visema-recorder", { numberOfOutputs: 0 });
      this.#listen(onLevel);
      this.#context.createMediaStreamSource(this.#stream).connect(this.#node);
    } catch (error) {
      await this.#release();
      throw error;
    }
  }

  // The recording as a File, and its seconds.
  async stop() {
    const rate = this.#context.sampleRate;
    this.#node.port.postMessage("end");
    await Promise.race([this.#ended, new Promise((resolve) => setTimeout(resolve, LAST_PIECE_MS))]);
    this.#node.disconnect();
    await this.#release();
    const count = this.#pieces.reduce((sum, piece) => sum + piece.length, 0);
    return { file: new File([wav(this.#pieces, count, rate)], "recording.wav", { type: "audio/wav" }), seconds: count / rate };
  }

  #listen(onLevel) {
    let samples = 0;
    this.#ended = new Promise((end) => {
      this.#node.port.onmessage = ({ data: piece }) => {
        if (!piece) return end();
        this.#pieces.push(piece);
        samples += piece.length;
        onLevel(piece.reduce((peak, value) => Math.max(peak, Math.abs(value)), 0), samples / this.#context.sampleRate);
      };
    });
  }

  async #release() {
    for (const track of this.#stream.getTracks()) track.stop();
    await this.#context.close();
  }
}

function wav(pieces, count, rate) {
  const view = new DataView(new ArrayBuffer(HEADER_BYTES + count * SAMPLE_BYTES));
  const ascii = (at, text) => [...text].forEach((letter, index) => view.setUint8(at + index, letter.charCodeAt(0)));
  ascii(0, "RIFF");
  view.setUint32(4, 36 + count * SAMPLE_BYTES, true);
  ascii(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // mono
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * SAMPLE_BYTES, true);
  view.setUint16(32, SAMPLE_BYTES, true);
  view.setUint16(34, 8 * SAMPLE_BYTES, true);
  ascii(36, "data");
  view.setUint32(40, count * SAMPLE_BYTES, true);
  let at = HEADER_BYTES;
  for (const piece of pieces) for (const value of piece) {
    view.setInt16(at, Math.round(Math.max(-1, Math.min(1, value)) * 32767), true);
    at += SAMPLE_BYTES;
  }
  return view.buffer;
}
