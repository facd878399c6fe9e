import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Answer, Collected, Connected, ConnectOrder, Order, Played, PlayOrder, Progress } from './messages.ts'

const program = fileURLToPath(new URL('./generator.ts', import.meta.url))

/** A generator process, as the harness sees it. Ends with the harness, however that ends. */
export class RemoteGenerator {
  readonly #child: ChildProcess
  #last: Promise<unknown> = Promise.resolve()

  constructor() {
    this.#child = fork(program, [], { serialization: 'advanced', execArgv: ['--disable-warning=ExperimentalWarning'] })
  }

  get pid(): number {
    return this.#child.pid!
  }

  connect(order: Omit<ConnectOrder, 'do'>): Promise<Connected> {
    return this.#order({ do: 'connect', ...order }) as Promise<Connected>
  }

  expect(run: number, total: number): Promise<void> {
    return this.#order({ do: 'expect', run, total }) as Promise<void>
  }

  play(order: Omit<PlayOrder, 'do'>): Promise<Played> {
    return this.#order({ do: 'play', ...order }) as Promise<Played>
  }

  progress(): Promise<Progress> {
    return this.#order({ do: 'progress' }) as Promise<Progress>
  }

  collect(): Promise<Collected> {
    return this.#order({ do: 'collect' }) as Promise<Collected>
  }

  disconnect(): Promise<void> {
    return this.#order({ do: 'disconnect' }) as Promise<void>
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exited
  }

  /** One after the other. */
  #order(order: Order): Promise<unknown> {
    const answer = this.#last.then(() => this.#ask(order))
    this.#last = answer.catch(() => {})
    return answer
  }

  #ask(order: Order): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const onExit = () => reject(new Error(`a generator has ended (${order.do})`))
      this.#child.once('exit', onExit)
      this.#child.once('message', (answer: Answer) => {
        this.#child.off('exit', onExit)
        if (answer.ok) resolve(answer.value)
        else reject(new Error(`generator, ${order.do}: ${answer.error}`))
      })
      this.#child.send(order)
    })
  }
}
