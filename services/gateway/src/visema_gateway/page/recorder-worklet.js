// Hands the microphone's samples over in pieces of about a tenth of a second.
const PIECE = 4096;

class VisemaRecorder extends AudioWorkletProcessor {
  #piece = new Float32Array(PIECE);
  #filled = 0;

  process([input]) {
    for (const value of input[0] ?? []) {
      this.#piece[this.#filled++] = value;
      if (this.#filled === PIECE) {
        this.port.postMessage(this.#piece.slice());
        this.#filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("visema-recorder", VisemaRecorder);
