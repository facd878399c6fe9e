import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { ClientOrder, ClientPlan, ClientStatus } from './client-plan.ts'

const program = fileURLToPath(new URL('client-process.ts', import.meta.url))

/** Client processes that play one plan each. */
export class Clients {
  readonly #children: readonly ChildProcess[]
  readonly #plans: readonly ClientPlan[]
  /** Who waits for an answer of one that has ended is told. */
  readonly #ends = new Map<ChildProcess, AbortSignal>()

  private constructor(plans: readonly ClientPlan[]) {
    this.#plans = plans
    this.#children = plans.map((plan) => {
      const child = fork(program, { execArgv: ['--disable-warning=ExperimentalWarning'] })
      const end = new AbortController()
      child.once('exit', (code, signal) => end.abort(new Error(`a client process has ended with ${code ?? signal}`)))
      this.#ends.set(child, end.signal)
      order(child, { do: 'start', plan })
      return child
    })
  }

  static start(plans: readonly ClientPlan[]): Clients {
    return new Clients(plans)
  }

  get historyFiles(): readonly string[] {
    return this.#plans.map(({ historyFile }) => historyFile)
  }

  /** Who is in which room. */
  get views(): readonly { readonly user: string; readonly room: string }[] {
    return this.#plans.flatMap(({ users }) => users.flatMap(({ userId, rooms }) => rooms.map((room) => ({ user: userId, room }))))
  }

  async status(): Promise<ClientStatus> {
    const all = await Promise.all(
      this.#children.map(async (child) => {
        const answer = once(child, 'message', { signal: this.#ends.get(child)! })
        order(child, { do: 'status' })
        return (await answer)[0] as ClientStatus
      }),
    )
    const sum = (of: (status: ClientStatus) => number) => all.reduce((total, status) => total + of(status), 0)
    return { sent: sum(({ sent }) => sent), unacked: sum(({ unacked }) => unacked), seen: Object.assign({}, ...all.map(({ seen }) => seen)) as ClientStatus['seen'], lists: Object.assign({}, ...all.map(({ lists }) => lists)) as ClientStatus['lists'] }
  }

  /** Nobody sends anything new. */
  quiet(): void {
    for (const child of this.#children) order(child, { do: 'quiet' })
  }

  /** Ends them; their histories are complete then. */
  async stop(): Promise<void> {
    await Promise.all(
      this.#children.map(async (child) => {
        if (hasEnded(child)) return
        const ended = once(child, 'exit')
        order(child, { do: 'stop' })
        const killer = setTimeout(() => child.kill('SIGKILL'), 10_000)
        await ended
        clearTimeout(killer)
      }),
    )
  }
}

const hasEnded = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null

function order(child: ChildProcess, what: ClientOrder): void {
  if (child.connected) child.send(what)
}
