import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import type { Bench, Scenario } from '../bench.ts'
import { formatted, formattedSpread, ratiosOf, spreadOf } from '../stats.ts'
import { acceptOrders, sendMessages } from '../systems/inputs.ts'
import { OrderChat } from '../systems/order-chat.ts'
import { withPostgres } from '../world.ts'

const GOAL = 0.6
/** What it writes a row into for each message. */
const TABLES = ['chat_messages', 'message_contents', 'room_events'] as const
const ROUNDS_MAX = 3
const DRAIN_WITHIN_MS = 300_000

type Drain = { readonly rows: number; readonly drainS: number; readonly copyS: number }

/** A log that is there already is drained by a persister that starts cold; the same rows then go into equal tables by COPY. */
export const persister: Scenario = {
  name: 'persister',
  estimateS: ({ persistedMessages, rounds }) => 40 + persistedMessages / 2_500 + Math.min(rounds, ROUNDS_MAX) * (10 + persistedMessages / 3_000),
  async run(bench) {
    const { options, say, signal } = bench
    const drains: Drain[] = []
    const rooms = Array.from({ length: Math.max(10, options.persistedMessages / 100) }, (_, i) => `drain-${i}`)
    const system = new OrderChat(bench.world, { name: 'persister', only: ['room-state', 'message-persister', 'api'], extraEnv: { ROOM_MESSAGES_PER_SECOND_MAX: '1000000' } })
    try {
      await system.start()
      await system.stopOne('message-persister')
      await acceptOrders(system.env, rooms)
      await sendMessages(system.env, rooms, options.persistedMessages / rooms.length)
      await untilDecided(system, options.persistedMessages + rooms.length)
      say(`  the log has ${formatted(options.persistedMessages)} messages in ${formatted(rooms.length)} rooms`)
      for (let round = 1; round <= Math.min(options.rounds, ROUNDS_MAX); round++) {
        signal.throwIfAborted()
        if (round > 1) await forget(system)
        const drain = { ...(await drainOnce(system, options.persistedMessages)), copyS: 0 }
        await system.stopOne('message-persister')
        drains.push({ ...drain, copyS: await copyAgain(bench, system) })
        const { rows, drainS, copyS } = drains.at(-1)!
        say(`  round ${round}: ${formatted(rows / drainS)} rows/s by the persister, ${formatted(rows / copyS)} rows/s by COPY`)
      }
    } finally {
      await system.stop()
    }
    return sectionOf(drains)
  },
}

async function untilDecided(system: OrderChat, inputs: number): Promise<void> {
  const deadlineMs = Date.now() + DRAIN_WITHIN_MS
  for (;;) {
    const done = await system.metric('room-state', 'room_state_inputs_total')
    if (done >= inputs) return
    if (Date.now() > deadlineMs) throw new Error(`room-state took ${done} of ${inputs} inputs in ${DRAIN_WITHIN_MS / 1_000} s`)
    await pause(200)
  }
}

/** Tables as they were made: only the owner may, with the guards off. */
async function forget(system: OrderChat): Promise<void> {
  await withPostgres(asAdmin(system), async (client) => {
    await client.query(`SET session_replication_role = replica`)
    await client.query(`TRUNCATE ${TABLES.join(', ')}, room_participants, chat_rooms, persisted_offsets`)
    await client.query('CHECKPOINT')
  })
}

async function drainOnce(system: OrderChat, messages: number): Promise<{ rows: number; drainS: number }> {
  await system.startOne('message-persister')
  const startedMs = performance.now()
  return withPostgres(asAdmin(system), async (client) => {
    const deadlineMs = Date.now() + DRAIN_WITHIN_MS
    for (;;) {
      const done = await countOf(client, 'chat_rooms', 'coalesce(sum(message_count), 0)')
      if (done >= messages) break
      if (Date.now() > deadlineMs) throw new Error(`${done} of ${messages} messages were stored in ${DRAIN_WITHIN_MS / 1_000} s`)
      await pause(25)
    }
    const drainS = (performance.now() - startedMs) / 1_000
    let rows = 0
    for (const table of TABLES) rows += await countOf(client, table, 'count(*)')
    return { rows, drainS }
  })
}

const countOf = async (client: pg.Client, table: string, what: string): Promise<number> => Number((await client.query(`SELECT ${what} AS n FROM ${table}`)).rows[0].n)

/** In one transaction by the server itself, from files: nothing is faster. */
async function copyAgain({ world }: Bench, system: OrderChat): Promise<number> {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'order-chat-copy-'))
  chmodSync(dir, 0o777)
  try {
    await withPostgres(asAdmin(system), async (client) => {
      for (const table of TABLES) await client.query(`COPY (SELECT * FROM ${table} ORDER BY room_id, seq) TO '${dir}/${table}'`)
    })
    const target = await world.createDatabase(`copy_${Date.now()}`)
    await system.migrate(target)
    return await withPostgres(adminUrl(target), async (client) => {
      await client.query('CHECKPOINT')
      const startedMs = performance.now()
      await client.query('BEGIN')
      for (const table of TABLES) await client.query(`COPY ${table} FROM '${dir}/${table}'`)
      await client.query('COMMIT')
      return (performance.now() - startedMs) / 1_000
    })
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

const asAdmin = (system: OrderChat): string => adminUrl(system.postgresUrl)

function adminUrl(url: string): string {
  const admin = new URL(url)
  admin.username = 'postgres'
  return admin.href
}

function sectionOf(drains: readonly Drain[]) {
  const [ours, copy] = [drains.map((d) => d.rows / d.drainS), drains.map((d) => d.rows / d.copyS)]
  const ratio = ratiosOf(ours, copy)
  return {
    verdicts: [{
      measure: 'persister: rows/s into Postgres with dedupe and audit log',
      goal: `≥ ${GOAL}× plain COPY`,
      measured: `${formatted(spreadOf(ours).median)} against ${formatted(spreadOf(copy).median)} rows/s: ${formattedSpread(ratio)}×`,
      met: ratio.median >= GOAL,
    }],
    tables: [{
      title: `A log drained by a persister that starts cold, from its readiness on; ${TABLES.length} rows a message`,
      head: ['round', 'rows', 'persister s', 'rows/s', 'COPY s', 'rows/s'],
      rows: drains.map((d, i) => [String(i + 1), formatted(d.rows), formatted(d.drainS), formatted(ours[i]!), formatted(d.copyS), formatted(copy[i]!)]),
    }],
    data: drains,
    warnings: [],
  }
}
