import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { useStack } from '../support/stack.ts'
import { System } from '../support/system.ts'

const main = fileURLToPath(new URL('../../deploy/audit/main.ts', import.meta.url))
let system: System
let env: Record<string, string>

beforeAll(async () => {
  const stack = await useStack()
  system = await System.start(stack, 'audit', { count: { edge: 1 } })
  env = system.process('room-state-1').env as Record<string, string>
})
afterAll(() => system?.close())

/** `npm run audit -- …`, as somebody runs it. */
function audit(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, ['--disable-warning=ExperimentalWarning', main, ...args], { env: { ...process.env, ...env, LOG_LEVEL: 'warn' } }, (failure, out, err) => resolve({ code: failure ? Number(failure.code) : 0, out, err }))
  })
}
const report = async (roomId: string, ...args: string[]) => {
  const { code, out, err } = await audit('--room', roomId, '--json', ...args)
  expect(err).toBe('')
  return { code, ...JSON.parse(out) }
}

/** As one with all rights over the database would. */
async function tamper(table: string, sql: string, values: unknown[]): Promise<void> {
  const url = new URL(system.stack.postgresAdminUrl)
  url.pathname = new URL(system.names.postgresUrl).pathname
  const client = new pg.Client({ connectionString: url.href })
  await client.connect()
  try {
    // No trigger fires.
    await client.query("SET session_replication_role = 'replica'")
    expect((await client.query(sql, values)).rowCount, table).toBe(1)
  } finally {
    await client.end()
  }
}

/** Opened (1), three messages (2 to 4), an edit of the first (5), seen by bob (6). */
async function talk(roomId: string): Promise<void> {
  await system.openRoom(roomId, 'ann', 'bob')
  const [ann, bob] = [await system.connect(1, { orderId: roomId, userId: 'ann', until: 'open' }), await system.connect(1, { orderId: roomId, userId: 'bob', until: 'open' })]
  const { messageId } = await ann.request({ type: 'sendMessage', message: 'one' })
  await ann.request({ type: 'sendMessage', message: 'two' })
  await ann.request({ type: 'sendMessage', message: 'three' })
  await ann.request({ type: 'editMessage', messageId, message: 'one, better' })
  await bob.request({ type: 'mark', seen: 2 })
  await expect.poll(async () => (await system.storedEvents(roomId)).length, { timeout: 10_000 }).toBe(6)
}

describe('npm run audit', () => {
  test('a room that nobody touched is whole in Postgres and in the topic, and shown as it was', async () => {
    await talk('whole')
    const { code, sources, breaks, notes, room } = await report('whole', '--at', '4')
    expect({ code, breaks, notes }).toEqual({ code: 0, breaks: [], notes: [] })
    expect(sources).toMatchObject([{ source: 'postgres', events: 6, chainBegins: 1, contentsVerified: 4 }, { source: 'topic', events: 6, chainBegins: 1, contentsVerified: 4 }])
    expect(sources[0].headHash).toBe(sources[1].headHash)
    expect(room).toMatchObject({ seq: 4, participants: [{ userId: 'ann' }, { userId: 'bob' }], receipts: [{ userId: 'ann', seen: 3 }], messages: [{ content: 'one' }, { content: 'two' }, { content: 'three' }] })
    expect((await report('whole', '--from', 'topic')).room).toMatchObject({ seq: 6, messages: [{ content: 'one, better', revision: 1 }, {}, {}] })
    const { out } = await audit('--room', 'whole')
    expect(out).toContain('The chain is whole.')
    expect(out).toContain('in: bob (vendor), had seen 2')
    expect(await audit('--room', 'nowhere')).toMatchObject({ code: 2, out: 'There is no room nowhere.\n' })
  })

  test('an erasure leaves the chain whole', async () => {
    await talk('erased')
    await system.pool.query("SELECT erase_message_content('erased', 2, 'dpo', 'asked for')")
    const { code, breaks, sources, room } = await report('erased')
    expect({ code, breaks }).toEqual({ code: 0, breaks: [] })
    expect(sources[0]).toMatchObject({ contentsVerified: 2, contentsErased: 2 })
    expect(room.messages).toMatchObject([{ content: null, erased: true, revision: 1 }, { content: 'two' }, {}])
  })

  test('whoever cuts off the end of a room, with its head, is found by the topic', async () => {
    await talk('cut-off')
    await tamper('chat_rooms', 'WITH gone AS (DELETE FROM room_events WHERE room_id = $1 AND seq = 6) UPDATE chat_rooms SET head_seq = 5 WHERE room_id = $1', ['cut-off'])
    expect(await report('cut-off')).toMatchObject({ code: 1, breaks: [{ source: 'both', seq: 6, kind: 'differs' }] })
  })

  test.each([
    ['who said it', 'room_events', `UPDATE room_events SET body = jsonb_set(body, '{senderId}', '"eve"') WHERE room_id = $1 AND seq = 3`, { source: 'both', seq: 3, kind: 'differs' }, { source: 'postgres', seq: 4, kind: 'hash' }],
    ['an event', 'room_events', 'DELETE FROM room_events WHERE room_id = $1 AND seq = 3', { source: 'postgres', seq: 3, kind: 'gap' }, { source: 'postgres', seq: 3, kind: 'gap' }],
    ['the last event', 'room_events', 'DELETE FROM room_events WHERE room_id = $1 AND seq = 6', { source: 'postgres', seq: 6, kind: 'head' }, { source: 'postgres', seq: 6, kind: 'head' }],
    ['when', 'room_events', "UPDATE room_events SET occurred_at = occurred_at - interval '1 day' WHERE room_id = $1 AND seq = 5", { source: 'postgres', seq: 5, kind: 'row' }, { source: 'postgres', seq: 5, kind: 'row' }],
    ['what was said', 'message_contents', "UPDATE message_contents SET content = 'else' WHERE room_id = $1 AND seq = 2", { source: 'postgres', seq: 2, kind: 'content' }, { source: 'postgres', seq: 2, kind: 'content' }],
    ['away what was said', 'message_contents', 'DELETE FROM message_contents WHERE room_id = $1 AND seq = 5', { source: 'postgres', seq: 5, kind: 'content' }, { source: 'postgres', seq: 5, kind: 'content' }],
  ])('whoever changes %s is found, at that place', async (what, table, sql, withTopic, alone) => {
    const roomId = `changed-${what.replaceAll(' ', '-')}`
    await talk(roomId)
    expect(await report(roomId)).toMatchObject({ code: 0, breaks: [] })
    await tamper(table, sql, [roomId])
    const both = await report(roomId)
    expect(both.code).toBe(1)
    expect(both.breaks[0]).toMatchObject(withTopic)
    const { code, breaks } = await report(roomId, '--from', 'postgres')
    expect(code).toBe(1)
    expect(breaks[0]).toMatchObject(alone)
    expect(await report(roomId, '--from', 'topic')).toMatchObject({ code: 0, breaks: [] })
    expect((await audit('--room', roomId)).out).toContain(`BROKEN, first at seq ${withTopic.seq}`)
  })
})
