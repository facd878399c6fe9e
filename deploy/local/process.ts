import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, renameSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { StackError } from './config.ts'
import { removeRecord, startTimeOf, writeRecord } from './pids.ts'

export type ProcessSpec = {
  name: string
  command: string
  args: readonly string[]
  /** What the program sees as its own name, where that decides what it does. */
  argv0?: string
  cwd?: string
  env: Record<string, string>
  /** Another user to run as; only root can ask for it. */
  user?: { uid: number; gid: number }
  stopSignal: NodeJS.Signals
  /** For data that is thrown away; SIGKILL unless it would leave something behind. */
  discardSignal?: NodeJS.Signals
  stopDeadlineMs: number
  /** True once the server does its work, not merely once its port is open. */
  ready: () => Promise<boolean>
  readyDeadlineMs: number
}

export type Exit = { code: number | null; signal: NodeJS.Signals | null }

const READY_POLL_MS = 100
const LOG_TAIL_LINES = 20

/**
 * One child process with its log file and its pid record. The child leads its own process
 * group: Ctrl-C in the terminal reaches the supervisor only, which then stops in order.
 */
export class LocalProcess {
  readonly name: string
  readonly logFile: string
  readonly exited: Promise<Exit>
  readonly #spec: ProcessSpec
  readonly #child: ChildProcess
  #running = true

  private constructor(spec: ProcessSpec, logFile: string, child: ChildProcess, runDir: string) {
    this.name = spec.name
    this.logFile = logFile
    this.#spec = spec
    this.#child = child
    this.exited = new Promise((resolve) => {
      const end = (exit: Exit): void => {
        if (!this.#running) return
        this.#running = false
        removeRecord(runDir, spec.name)
        resolve(exit)
      }
      child.once('exit', (code, signal) => end({ code, signal }))
      child.once('error', () => end({ code: 127, signal: null }))
    })
  }

  static spawn(spec: ProcessSpec, dirs: { logDir: string; runDir: string }): LocalProcess {
    const logFile = path.join(dirs.logDir, `${spec.name}.log`)
    const log = openLog(logFile)
    try {
      const child = spawn(spec.command, spec.args, {
        detached: true,
        stdio: ['ignore', log, log],
        env: spec.env,
        ...(spec.cwd !== undefined && { cwd: spec.cwd }),
        ...(spec.argv0 !== undefined && { argv0: spec.argv0 }),
        ...spec.user,
      })
      const started = new LocalProcess(spec, logFile, child, dirs.runDir)
      if (child.pid !== undefined) {
        const { name, stopSignal, discardSignal = 'SIGKILL' } = spec
        const startedAt = startTimeOf(child.pid) ?? ''
        writeRecord(dirs.runDir, { name, pid: child.pid, startedAt, stopSignal, discardSignal, owner: process.pid })
      }
      return started
    } finally {
      closeSync(log)
    }
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  get running(): boolean {
    return this.#running
  }

  /** @throws StackError with the log's tail when it ends or stalls before it is ready. */
  async untilReady(): Promise<void> {
    const untilMs = Date.now() + this.#spec.readyDeadlineMs
    while (this.#running) {
      if (await this.#spec.ready().catch(() => false)) return
      if (Date.now() > untilMs) throw new StackError(`${this.name} was not ready within ${this.#spec.readyDeadlineMs / 1000} s\n${this.logTail()}`)
      await sleep(READY_POLL_MS)
    }
    throw new StackError(`${this.name} ended while starting (${describeExit(await this.exited)})\n${this.logTail()}`)
  }

  /** Resolves when the process is gone: asked first, killed past its deadline. */
  async stop(): Promise<void> {
    if (!this.#running) return
    this.#child.kill(this.#spec.stopSignal)
    const late = new AbortController()
    const killer = sleep(this.#spec.stopDeadlineMs, undefined, { signal: late.signal })
      .then(() => this.kill())
      .catch(() => {})
    await this.exited
    late.abort()
    await killer
  }

  /** SIGKILL: for a second Ctrl-C, and for tests of crashes. */
  kill(): void {
    if (this.#running) this.#child.kill('SIGKILL')
  }

  /** Ends it as fast as its kind allows, and leaves its data in whatever state. */
  async discard(): Promise<void> {
    if (!this.#running) return
    this.#child.kill(this.#spec.discardSignal ?? 'SIGKILL')
    await this.exited
  }

  logTail(): string {
    const lines = existsSync(this.logFile) ? readFileSync(this.logFile, 'utf8').trimEnd().split('\n') : []
    const tail = lines.slice(-LOG_TAIL_LINES).map((line) => `    | ${line}`)
    return [`    last lines of ${this.logFile}:`, ...tail].join('\n')
  }
}

export function describeExit({ code, signal }: Exit): string {
  return signal ? `killed by ${signal}` : `exit code ${code}`
}

/** A fresh log for each start; the one before it stays beside it. */
function openLog(file: string): number {
  mkdirSync(path.dirname(file), { recursive: true })
  if (existsSync(file)) renameSync(file, `${file}.1`)
  return openSync(file, 'a')
}
