import type { Process } from '../world/process.ts'
import type { World } from '../world/world.ts'

/** The place of one part: whatever ends there is started again, as a supervisor does. */
export class Slot {
  readonly name: string
  readonly #world: World
  readonly #start: (process: Process) => () => Promise<void>
  #process: Process | undefined
  #stop: (() => Promise<void>) | undefined
  #incarnations = 0
  #stopping = false

  constructor(world: World, name: string, start: (process: Process) => () => Promise<void>) {
    this.#world = world
    this.name = name
    this.#start = start
  }

  get process(): Process | undefined {
    return this.#process
  }

  start(): void {
    if (this.#process?.alive) return
    const { random } = this.#world
    this.#stopping = false
    this.#process = this.#world.process(`${this.name}.${++this.#incarnations}`, random.int(-500, 500))
    this.#stop = this.#start(this.#process)
  }

  crash(downMs: number): void {
    this.#process?.crash()
    this.#restartIn(downMs)
  }

  pause(ms: number): void {
    if (this.#process?.alive && !this.#process.isPaused) this.#process.pause(ms)
  }

  /** As SIGTERM does; what takes too long is killed. */
  stop(downMs: number): void {
    const process = this.#process
    if (!process?.alive || process.isPaused || this.#stopping) return
    this.#stopping = true
    this.#world.note(`${process.name} is told to stop`)
    const end = () => {
      if (!process.alive) return
      process.crash()
      this.#restartIn(downMs)
    }
    this.#stop!().then(() => process.hear(0, 'has stopped', end), () => process.hear(0, 'could not stop', end))
    this.#world.act(10_000, `${process.name} is killed`, end)
  }

  #restartIn(ms: number): void {
    this.#world.act(ms, `${this.name} is started again`, () => this.start())
  }
}
