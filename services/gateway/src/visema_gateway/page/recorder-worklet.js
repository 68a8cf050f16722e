// Hands the microphone's samples over in pieces of about a tenth of a second, and what is left when it is asked to end.
const PIECE = 4096;

class VisemaRecorder extends AudioWorkletProcessor {
  #piece = new Float32Array(PIECE);
  #filled = 0;
  #ended = false;

  constructor() {
    super();
    this.port.onmessage = () => {
      this.#hand();
      this.port.postMessage(null); // the end
      this.#ended = true;
    };
  }

  process([input]) {
    for (const value of input[0] ?? []) {
      this.#piece[this.#filled++] = value;
      if (this.#filled === PIECE) this.#hand();
    }
    return !this.#ended;
  }

  #hand() {
    this.port.postMessage(this.#piece.slice(0, this.#filled));
    this.#filled = 0;
  }
}

registerProcessor("visema-recorder", VisemaRecorder);
