import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { startTimeOf, writeRecord } from '../../deploy/local/pids.ts'

export type ServiceProcessOptions = {
  readonly id: string
  readonly service: string
  readonly env: Readonly<Record<string, string>>
  readonly logFile: string
  /** Where startKeeper() looks for what is left running. */
  readonly runDir: string
  readonly root: string
}

// Two cores may have many processes to start at once.
const READY_WITHIN_MS = 90_000
const STOP_WITHIN_MS = 20_000

/** One service as a process of its own, which a test may stop, kill, pause and start again. */
export class ServiceProcess {
  readonly id: string
  readonly env: Readonly<Record<string, string>>
  readonly #options: ServiceProcessOptions
  #child: ChildProcess | undefined

  constructor(options: ServiceProcessOptions) {
    this.id = options.id
    this.env = options.env
    this.#options = options
  }

  get isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** Starts it, and waits until it says that it is ready. */
  async start(): Promise<void> {
    const { service, env, logFile, root } = this.#options
    const log = openSync(logFile, 'a')
    // Not the test runner's environment: a service must live on what it is given.
    const { PATH, HOME } = process.env
    this.#child = spawn(process.execPath, [`services/${service}/main.ts`], { cwd: root, env: { PATH, HOME, ...env }, stdio: ['ignore', log, log] })
    closeSync(log)
    this.#record(this.#child.pid!)
    await this.#untilReady()
  }

  /** SIGTERM, and waits for the end; SIGKILL where that takes too long. Gives the exit code. */
  async stop(): Promise<number | null> {
    if (!this.isRunning) return this.#child?.exitCode ?? null
    const child = this.#child!
    const killer = setTimeout(() => child.kill('SIGKILL'), STOP_WITHIN_MS)
    child.kill('SIGTERM')
    // A paused process does not hear of it.
    child.kill('SIGCONT')
    await once(child, 'exit')
    clearTimeout(killer)
    return child.exitCode
  }

  async kill(): Promise<void> {
    if (!this.isRunning) return
    const ended = once(this.#child!, 'exit')
    this.#child!.kill('SIGKILL')
    await ended
  }

  async restart(): Promise<void> {
    await this.stop()
    await this.start()
  }

  pause(): void {
    this.#child!.kill('SIGSTOP')
  }

  resume(): void {
    this.#child!.kill('SIGCONT')
  }

  /** The last lines of its log. */
  logTail(lines = 15): string {
    return readFileSync(this.#options.logFile, 'utf8').split('\n').slice(-lines).join('\n')
  }

  log(): string {
    return readFileSync(this.#options.logFile, 'utf8')
  }

  /** Sum over the series whose name and labels begin with `series`. */
  async metricSum(series: string): Promise<number> {
    const lines = (await this.metric(series)).split('\n').filter((line) => line !== '')
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
  }

  async metric(name: string): Promise<string> {
    const text = await (await fetch(`http://127.0.0.1:${this.env['METRICS_PORT']}/metrics`)).text()
    return text.split('\n').filter((line) => line.startsWith(name)).join('\n')
  }

  /** So that the keeper of this process finds it, should a test run be killed. */
  #record(pid: number): void {
    writeRecord(this.#options.runDir, { name: this.id, pid, startedAt: startTimeOf(pid) ?? '', stopSignal: 'SIGTERM', discardSignal: 'SIGKILL', owner: process.pid })
  }

  async #untilReady(): Promise<void> {
    const deadlineMs = Date.now() + READY_WITHIN_MS
    while (Date.now() < deadlineMs) {
      if (!this.isRunning) throw new Error(`${this.id} ended at its start:\n${this.logTail()}`)
      const answer = await fetch(`http://127.0.0.1:${this.env['METRICS_PORT']}/readyz`).catch(() => undefined)
      if (answer?.ok) return
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    throw new Error(`${this.id} was not ready in time:\n${this.logTail()}`)
  }
}
