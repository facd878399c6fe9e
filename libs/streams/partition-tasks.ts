export type PartitionTask = {
  /** Settles when the task is stopped; rejects with what it cannot mend. */
  run(): Promise<void>
  stop(): Promise<void>
}

export type PartitionTasksOptions<T extends PartitionTask> = {
  readonly create: (partition: number) => T
  readonly onFailure: (err: unknown) => void
}

/** The tasks of this process: one for each partition that the group assigns to it. */
export class PartitionTasks<T extends PartitionTask> {
  readonly #options: PartitionTasksOptions<T>
  readonly #tasks = new Map<number, T>()
  /** Partitions that were given back: a new task of the same one waits for the old one's end. */
  readonly #ending = new Map<number, Promise<void>>()

  constructor(options: PartitionTasksOptions<T>) {
    this.#options = options
  }

  partitions(): readonly number[] {
    return [...this.#tasks.keys()]
  }

  entries(): readonly (readonly [number, T])[] {
    return [...this.#tasks]
  }

  /** Keeps what is still ours as it runs, ends what is not, starts what is new. */
  assign(partitions: readonly number[]): void {
    for (const [partition, task] of this.#tasks) {
      if (partitions.includes(partition)) continue
      this.#tasks.delete(partition)
      const before = this.#ending.get(partition)
      this.#ending.set(partition, Promise.all([before, task.stop()]).then(() => {}))
    }
    for (const partition of partitions) {
      if (!this.#tasks.has(partition)) this.#start(partition)
    }
  }

  async stopAll(): Promise<void> {
    const tasks = [...this.#tasks.values()]
    this.#tasks.clear()
    await Promise.all([...tasks.map((task) => task.stop()), ...this.#ending.values()])
  }

  #start(partition: number): void {
    const task = this.#options.create(partition)
    this.#tasks.set(partition, task)
    const before = this.#ending.get(partition) ?? Promise.resolve()
    before.then(() => task.run()).catch((err: unknown) => this.#options.onFailure(err))
  }
}
