import { strict as assert } from 'node:assert'
import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import { signDevToken } from '#libs/auth/dev-key.ts'
import { type ChatClient, createChatClient, type Room, type RoomEventFrame } from '#libs/client/index.ts'
import { HOST } from './config.ts'
import { type RunningStack, stackFromEnv, startStack } from './local-stack.ts'
import { publishOrderEvent } from './order.ts'
import { lineProgress } from './progress.ts'
import { AUTH_AUDIENCE, AUTH_ISSUER } from './service-env.ts'
import type { Machine } from './tools.ts'

/** `npm run demo`: plays an order's life and checks each step of it. Exit code 1 if anything is not as it should be. */
const machine: Machine = { env: process.env, progress: lineProgress((line) => console.log(line)) }
const { ports, world } = stackFromEnv(machine)
const WAIT_MS = 15_000
const orderId = `demo-${Date.now()}`
const clients: ChatClient[] = []
let stepNo = 0

async function step<T>(what: string, work: () => Promise<T>): Promise<T> {
  const startedMs = performance.now()
  try {
    const result = await work()
    console.log(`✓ ${String(++stepNo).padStart(2)}. ${what} (${Math.round(performance.now() - startedMs)} ms)`)
    return result
  } catch (err) {
    console.error(`✗ ${String(++stepNo).padStart(2)}. ${what}\n   ${(err as Error).message}`)
    throw err
  }
}

const token = (userId: string, role = 'user') =>
  signDevToken({ file: world.devKeyFile, issuer: AUTH_ISSUER, audience: AUTH_AUDIENCE, userId, role, ttlS: 600 })

async function order(type: string, payload: Readonly<Record<string, unknown>> = {}): Promise<void> {
  const { sqsQueueUrl, sqsEndpoint } = world.endpoints
  await publishOrderEvent({ type: `order.${type}`, payload: { orderId, ...payload } }, { queueUrl: sqsQueueUrl, endpoint: sqsEndpoint })
}

type Person = { readonly client: ChatClient; readonly room: Room; readonly events: RoomEventFrame[] }

/** Connects with the SDK; the order's room may be a moment away, so a first 404 is tried again. */
async function join(userId: string, edge: 1 | 2, role = 'user'): Promise<Person> {
  for (const deadlineMs = Date.now() + WAIT_MS; ; ) {
    const client = createChatClient({ url: `ws://${HOST}:${ports.edge[edge - 1]}/chat`, orderId, token: () => token(userId, role) })
    const room = client.join(orderId)
    const events: RoomEventFrame[] = []
    room.on('event', (event) => events.push(event))
    try {
      await client.connect()
      clients.push(client)
      await until(() => room.phase === 'live', `${userId} is not live`)
      return { client, room, events }
    } catch (err) {
      await client.close()
      if ((err as { code?: string }).code !== 'room_not_found' || Date.now() > deadlineMs) throw err
      await pause(50)
    }
  }
}

async function until(isSo: () => boolean, otherwise: string): Promise<void> {
  for (const deadlineMs = Date.now() + WAIT_MS; !isSo(); ) {
    if (Date.now() > deadlineMs) throw new Error(otherwise)
    await pause(1)
  }
}

/** Sends, and waits until the other one has it. */
async function say(from: Person, to: Person, content: string): Promise<number> {
  const { done } = from.room.send(content)
  const { seq } = await done
  await until(() => to.room.lastSeq >= seq, `seq ${seq} did not arrive`)
  const seen = to.events.at(seq - 1)
  assert.equal(seen?.type === 'newMessage' && seen.content, content)
  return seq
}

async function statusOf(userId: string, id: string): Promise<{ status: number; code: string }> {
  const answer = await fetch(`http://${HOST}:${ports.edge[0]}/chat?orderId=${id}`, { headers: { authorization: `Bearer ${await token(userId)}` } })
  return { status: answer.status, code: ((await answer.json()) as { code: string }).code }
}

async function fromApi(pathname: string, userId: string, role?: string): Promise<any> {
  const answer = await fetch(`http://${HOST}:${ports.api}${pathname}`, { headers: { authorization: `Bearer ${await token(userId, role)}` } })
  assert.equal(answer.status, 200, `${pathname} answered ${answer.status}`)
  return answer.json()
}

async function life(): Promise<void> {
  const customer = await step('order.accepted through SQS; the customer is in the room, on edge 1', async () => {
    await order('accepted', { customerId: 'customer', vendorId: 'vendor' })
    return join('customer', 1)
  })
  const vendor = await step('the vendor joins on edge 2', () => join('vendor', 2))
  await step('customer → vendor, from edge to edge', () => say(customer, vendor, 'Is it ready?'))
  await step('vendor → customer', () => say(vendor, customer, 'In five minutes'))
  await step('a stranger gets 403, an unknown order 404', async () => {
    assert.deepEqual(await statusOf('stranger', orderId), { status: 403, code: 'not_a_participant' })
    assert.deepEqual(await statusOf('customer', `${orderId}-unknown`), { status: 404, code: 'room_not_found' })
  })
  await step('order.rider_assigned; the others see it', async () => {
    await order('rider_assigned', { riderId: 'rider' })
    await until(() => customer.room.lastSeq >= 4 && vendor.room.lastSeq >= 4, 'the rider did not come')
  })
  const rider = await step('the rider joins and has the whole history', async () => {
    const person = await join('rider', 1)
    assert.deepEqual(person.events.map((e) => e.seq), [1, 2, 3, 4])
    return person
  })
  await step('rider → vendor', () => say(rider, vendor, 'On my way'))
  await step('the same clientMessageId again, on the other edge, is the same message', () => repeat(customer))
  await step('order.delivered; the room is read-only', async () => {
    await order('delivered', { deliveredAt: new Date().toISOString() })
    await until(() => [customer, vendor, rider].every((p) => p.room.lastSeq === 7), 'the room did not close')
    await assert.rejects(customer.room.send('Thanks').done, { code: 'room_read_only' })
  })
  await step('an admin reads the whole log, and cannot write', async () => {
    const admin = await join('boss', 2, 'admin')
    assert.deepEqual(admin.events, vendor.events)
    await assert.rejects(admin.room.send('I see you').done, { code: 'admin_is_read_only' })
  })
  await step('everybody saw the same, 1 … 7; Postgres and the api have it too', () => compare([customer, vendor, rider]))
}

async function repeat(customer: Person): Promise<void> {
  const sent = customer.room.send('Ring twice, please')
  const { seq } = await sent.done
  const { default: WebSocket } = await import('ws')
  const ws = new WebSocket(`ws://${HOST}:${ports.edge[1]}/chat?orderId=${orderId}&since=${seq}`, { headers: { authorization: `Bearer ${await token('customer')}` } })
  const replies: { id?: string; seq?: number; repeated?: boolean }[] = []
  ws.on('message', (data) => replies.push(JSON.parse(data.toString())))
  await new Promise((resolve, reject) => ws.once('open', resolve).once('error', reject))
  ws.send(JSON.stringify({ id: 'again', type: 'sendMessage', clientMessageId: sent.clientMessageId, message: 'Ring twice, please' }))
  await until(() => replies.some((r) => r.id === 'again'), 'no reply to the repeat')
  const reply = replies.find((r) => r.id === 'again')
  assert.deepEqual([reply?.seq, reply?.repeated], [seq, true])
  ws.close()
}

async function compare(people: readonly Person[]): Promise<void> {
  for (const { events } of people) {
    assert.deepEqual(events, people[0]!.events)
    assert.deepEqual(events.map((e) => e.seq), [1, 2, 3, 4, 5, 6, 7])
  }
  const said = people[0]!.events.flatMap((e) => (e.type === 'newMessage' ? [[e.seq, e.senderId, e.content]] : []))
  const client = new pg.Client({ connectionString: world.endpoints.postgresUrl })
  await client.connect()
  try {
    let rows: { seq: string; sender_id: string; content: string }[] = []
    for (const deadlineMs = Date.now() + WAIT_MS; rows.length < said.length && Date.now() < deadlineMs; await pause(20)) {
      rows = (await client.query('SELECT seq, sender_id, content FROM chat_history WHERE room_id = $1 ORDER BY seq', [orderId])).rows
    }
    assert.deepEqual(rows.map((r) => [Number(r.seq), r.sender_id, r.content]), said)
  } finally {
    await client.end()
  }
  const { messages } = await fromApi(`/rooms/${orderId}/messages?after=0&limit=200`, 'vendor')
  assert.deepEqual(messages.map((m: { seq: number; senderId: string; content: string }) => [m.seq, m.senderId, m.content]), said)
  const { events } = await fromApi(`/admin/rooms/${orderId}/events`, 'boss', 'admin')
  assert.equal(events.length, 7)
}

async function isUp(): Promise<boolean> {
  const answers = await Promise.all([...ports.edge, ports.api].map((port) => fetch(`http://${HOST}:${port}/`).catch(() => undefined)))
  return answers.every((answer) => answer !== undefined)
}

let started: RunningStack | undefined
try {
  if (!(await isUp())) {
    console.log('No stack is running here: one is started for the demo.')
    started = await startStack({ brokers: 1, infraOnly: false, extraEnv: {} }, machine)
  }
  console.log(`\nThe life of order ${orderId}\n`)
  await life()
  console.log('\nAll as it should be.')
} catch (err) {
  console.error(`\nThe demo has failed: ${(err as Error).message}`)
  process.exitCode = 1
} finally {
  await Promise.all(clients.map((client) => client.close()))
  await started?.stop()
}
process.exit()
