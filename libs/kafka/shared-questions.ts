import { type Clock, systemClock } from '#libs/runtime/clock.ts'

/** Between two questions about the same: who asks alone does not notice it, and a flood asks for nobody's joins but its own. */
const APART_MS = 20

/**
 * Questions that come while the same one is on its way, or too soon after it, share the next answer. So an answer is
 * never older than the question, and any number of askers costs one request at a time.
 */
export class SharedQuestions<About, Answer> {
  readonly #ask: (about: About) => Promise<Answer>
  readonly #clock: Clock
  readonly #next = new Map<About, Promise<Answer>>()
  readonly #last = new Map<About, { readonly answer: Promise<unknown>; readonly askedMs: number }>()

  constructor(ask: (about: About) => Promise<Answer>, clock: Clock = systemClock) {
    this.#ask = ask
    this.#clock = clock
  }

  ask(about: About): Promise<Answer> {
    const waiting = this.#next.get(about)
    if (waiting) return waiting
    const answer = this.#askNext(about)
    this.#next.set(about, answer)
    return answer
  }

  async #askNext(about: About): Promise<Answer> {
    const last = this.#last.get(about)
    await last?.answer.catch(() => {
      // Its own askers were told.
    })
    const waitMs = last ? last.askedMs + APART_MS - this.#clock.nowMs() : 0
    // A clock that was set back makes nobody wait for longer.
    if (waitMs > 0) await this.#clock.sleep(Math.min(waitMs, APART_MS))
    this.#next.delete(about)
    const answer = this.#ask(about)
    this.#last.set(about, { answer, askedMs: this.#clock.nowMs() })
    return answer
  }
}
