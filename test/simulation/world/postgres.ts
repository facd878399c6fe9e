import { ChatError } from '#libs/domain/errors.ts'
import type { Pool, Queryable, Result } from '#libs/postgres/pool.ts'
import { type Fate, type Process } from './process.ts'
import { statementOf } from './sql.ts'
import type { Statement } from './sql-parts.ts'
import { Tables } from './tables.ts'
import type { World } from './world.ts'

const STATEMENT_TIMEOUT_MS = 1_500
/** idle_in_transaction_session_timeout: whoever has gone leaves no lock behind for longer. */
const IDLE_IN_TRANSACTION_MS = 4_000

const unavailable = (why: string) => new ChatError('unavailable', `Postgres: ${why}`)

/** A transaction as the server sees it. */
type Transaction = {
  readonly isRepeatable: boolean
  snapshot: Tables | undefined
  /** What it does to the tables, in order, at its commit. */
  readonly writes: ((tables: Tables) => void)[]
  readonly locks: Set<string>
  state: 'open' | 'committed' | 'aborted'
}

/** One Postgres, as far as the statements of the message store and of the history need it. */
export class Postgres {
  readonly tables = new Tables()
  downUntilMs = 0
  /** When it last could not be reached. */
  lastRefusedMs = 0
  readonly faults: { readonly commitFails: number }
  /** Called after each commit that wrote something. */
  onCommitted: () => void = () => {}
  readonly #world: World
  readonly #holders = new Map<string, Transaction>()
  #released: (() => void)[] = []

  constructor(world: World, faults: { readonly commitFails: number }) {
    this.#world = world
    this.faults = faults
  }

  pool(process: Process): Pool {
    return {
      query: <Row>(text: string, values: readonly unknown[] = []) => this.#autocommit(process, statementOf(text, values)) as Promise<Result<Row>>,
      withConnection: (work) => work(this.#connection(process)),
      stats: () => ({ total: 0, idle: 0, waiting: 0 }),
      end: async () => {},
    }
  }

  #connection(process: Process): Queryable {
    let tx: Transaction | undefined
    process.onEnd(() => {
      if (tx?.state === 'open' && !committing) this.#end(tx, 'aborted')
    })
    let committing = false
    const query = async (text: string, values: readonly unknown[] = []): Promise<Result<unknown>> => {
      if (text.startsWith('BEGIN')) {
        tx = await this.#call(process, 'BEGIN', () => this.#begin(text.includes('REPEATABLE')))
        return none
      }
      if (!tx) throw new Error('a statement outside of a transaction')
      const open = tx
      if (text === 'ROLLBACK') return this.#call(process, text, () => (this.#end(open, 'aborted'), none))
      if (text === 'COMMIT') {
        committing = true
        return this.#call(process, text, () => (this.#commit(open), none), this.#commitFate(open))
      }
      return this.#inTransaction(process, open, statementOf(text, values))
    }
    return { query: query as Queryable['query'] }
  }

  /** Statements within a transaction come without delay where nothing could happen in between that matters. */
  async #inTransaction(process: Process, tx: Transaction, statement: Statement): Promise<Result<unknown>> {
    const lock = statement.lock
    if (lock !== undefined) await this.#lock(process, tx, lock)
    const isQuick = lock !== undefined || (!tx.isRepeatable && !this.#world.random.chance(0.1))
    const execute = () => this.#execute(tx, statement)
    return isQuick ? execute() : this.#call(process, statement.name, execute)
  }

  #autocommit(process: Process, statement: Statement): Promise<Result<unknown>> {
    return this.#call(process, statement.name, () => {
      const tx = this.#begin(false)
      const result = this.#execute(tx, statement)
      this.#commit(tx)
      return result
    })
  }

  #begin(isRepeatable: boolean): Transaction {
    const tx: Transaction = { isRepeatable, snapshot: undefined, writes: [], locks: new Set(), state: 'open' }
    return tx
  }

  #execute(tx: Transaction, statement: Statement): Result<unknown> {
    if (tx.state !== 'open') throw unavailable('the transaction was ended by the server')
    if (tx.isRepeatable) tx.snapshot ??= this.tables.snapshot()
    const { rows = [], rowCount = rows.length, write } = statement.run(tx.snapshot ?? this.tables)
    if (write) tx.writes.push(write)
    return { rows, rowCount }
  }

  #commit(tx: Transaction): void {
    if (tx.state !== 'open') throw unavailable('the transaction was ended by the server')
    try {
      for (const write of tx.writes) write(this.tables)
    } finally {
      this.#end(tx, 'committed')
    }
    if (tx.writes.length > 0) this.onCommitted()
  }

  #end(tx: Transaction, state: 'committed' | 'aborted'): void {
    if (tx.state !== 'open') return
    tx.state = state
    for (const lock of tx.locks) this.#holders.delete(lock)
    if (tx.locks.size > 0) for (const wake of this.#released.splice(0)) wake()
  }

  /** A row lock: whoever comes second waits for the first one's end, then sees what that has left. */
  async #lock(process: Process, tx: Transaction, lock: string): Promise<void> {
    const deadlineMs = this.#world.nowMs + STATEMENT_TIMEOUT_MS
    for (;;) {
      const isHeld = await this.#call(process, `lock ${lock}`, () => {
        if (tx.state !== 'open') throw unavailable('the transaction was ended by the server')
        if (this.#holders.has(lock)) return true
        this.#holders.set(lock, tx)
        tx.locks.add(lock)
        this.#world.serve(IDLE_IN_TRANSACTION_MS, `idle in transaction on ${lock}`, () => this.#end(tx, 'aborted'))
        return false
      })
      if (!isHeld) return
      if (this.#world.nowMs >= deadlineMs) {
        this.#end(tx, 'aborted')
        throw unavailable('canceling statement due to statement timeout')
      }
      await process.clock.sleep(100)
    }
  }

  #commitFate(tx: Transaction): Fate {
    const { calm, random } = this.#world
    if (calm || tx.writes.length === 0 || !random.chance(this.faults.commitFails)) return 'ok'
    return random.pick(['unknown', 'late', 'lost'])
  }

  #call<T>(process: Process, label: string, serve: () => T, fate: Fate = 'ok'): Promise<T> {
    const timeoutError = () => unavailable('Connection terminated')
    const guarded = () => {
      if (this.#world.nowMs >= this.downUntilMs) return serve()
      this.lastRefusedMs = this.#world.nowMs
      throw unavailable('the database system is shutting down')
    }
    return process.call(`pg ${label}`, guarded, { fate, timeoutMs: STATEMENT_TIMEOUT_MS, timeoutError })
  }

  /** A restart ends every open transaction. */
  goDown(ms: number): void {
    this.downUntilMs = this.#world.nowMs + ms
    for (const tx of new Set(this.#holders.values())) this.#end(tx, 'aborted')
  }
}

const none: Result<never> = { rows: [], rowCount: 0 }
