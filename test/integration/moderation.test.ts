import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Webhook } from 'standardwebhooks'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readDeadLetters } from '../e2e/dead-letters.ts'
import { useStack } from '../support/stack.ts'
import { System } from '../support/system.ts'

const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
type Question = { readonly type: string; readonly roomId: string; readonly seq: number; readonly messageSeq: number; readonly content: string }

let system: System
let server: Server
let questions: { id: string; question: Question }[]
/** A status, or the answer. */
let answer: (question: Question) => number | object | 'hang'

beforeAll(async () => {
  questions = []
  answer = () => ({ action: 'allow' })
  server = createServer((req, res) => {
    let body = ''
    req.on('data', (part) => (body += part)).on('end', () => {
      const question = new Webhook(SECRET).verify(body, req.headers as Record<string, string>) as Question
      questions.push({ id: String(req.headers['webhook-id']), question })
      const said = answer(question)
      if (said === 'hang') return
      if (typeof said === 'number') res.writeHead(said).end()
      else res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(said))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/judge`
  system = await System.start(await useStack(), 'moderation', {
    count: { edge: 1, moderation: 1 },
    env: { MODERATION_WEBHOOK_URL: url, MODERATION_WEBHOOK_SECRET: SECRET, MODERATION_TIMEOUT_MS: '500', MODERATION_BREAKER_FAILURES: '3', MODERATION_BREAKER_OPEN_MS: '500', ROOM_BANNED_WORDS: 'badword', ROOM_LINK_HOSTS: 'good.com' },
  })
})
afterAll(async () => {
  await system?.close()
  server?.close()
})

const join = (userId: string, orderId: string, role = 'user') => system.connect(1, { orderId, userId, role, until: 'open' })

describe('what was said is judged behind the chat’s back', () => {
  test('a message and an edit that shall go are redacted for everybody, also in a replay and in Postgres', async () => {
    answer = ({ content }) => (content.includes('rude') ? { action: 'redact', reason: 'insult' } : { action: 'allow' })
    await system.openRoom('judged', 'ann', 'bob')
    const [ann, bob] = [await join('ann', 'judged'), await join('bob', 'judged')]
    const rude = await ann.request({ type: 'sendMessage', message: 'how rude' })
    const fine = await ann.request({ type: 'sendMessage', message: 'fine' })
    await bob.waitFor((f) => f['type'] === 'newMessage' && f['content'] === 'how rude')
    await bob.waitFor((f) => f['event'] === 'messageRedacted' && f['messageSeq'] === rude['seq'] && f['reason'] === 'insult' && f['by'] === 'moderation')
    await ann.request({ type: 'editMessage', messageId: fine['messageId'], message: 'not rude at all' })
    await bob.waitFor((f) => f['event'] === 'messageRedacted' && f['messageSeq'] === fine['seq'])
    const late = await join('bob', 'judged')
    await late.waitFor((f) => f['type'] === 'caughtUp')
    expect(JSON.stringify(late.frames)).not.toContain('rude')
    expect(late.frames.filter((f) => f['type'] === 'newMessage')).toMatchObject([{ content: null, deleted: true, redacted: 'insult' }, { content: null, deleted: true, redacted: 'insult' }])
    await expect.poll(async () => (await system.pool.query("SELECT content, deleted, redacted FROM chat_history WHERE room_id = 'judged' ORDER BY seq")).rows).toEqual([
      { content: null, deleted: true, redacted: 'insult' },
      { content: null, deleted: true, redacted: 'insult' },
    ])
    // What moderators need stays: it is not erased.
    expect((await system.pool.query("SELECT count(*)::int AS n FROM message_contents WHERE room_id = 'judged' AND content IS NOT NULL")).rows).toEqual([{ n: 3 }])
  })

  test('while the webhook is dead chat goes on, and all is judged once it is back', async () => {
    await system.openRoom('outage', 'ann', 'bob')
    const [ann, bob] = [await join('ann', 'outage'), await join('bob', 'outage')]
    answer = ({ seq }) => (seq % 2 ? 503 : 'hang')
    for (let i = 0; i < 6; i++) {
      const startMs = performance.now()
      await ann.request({ type: 'sendMessage', message: `rude ${i}` })
      expect(performance.now() - startMs).toBeLessThan(1_500)
    }
    await bob.waitFor((f) => f['content'] === 'rude 5')
    await expect.poll(() => system.process('moderation-1').metricSum('moderation_breaker_open'), { timeout: 10_000 }).toBe(1)
    expect(bob.frames.filter((f) => f['event'] === 'messageRedacted')).toEqual([])
    answer = ({ content }) => (content.includes('rude') ? { action: 'redact', reason: 'insult' } : { action: 'allow' })
    await expect.poll(() => bob.frames.filter((f) => f['event'] === 'messageRedacted').length, { timeout: 20_000 }).toBe(6)
    await expect.poll(async () => (await system.pool.query("SELECT count(*)::int AS n FROM room_events WHERE room_id = 'outage' AND event_type = 'messageRedacted'")).rows).toEqual([{ n: 6 }])
  })

  test('what the webhook refuses goes to the dead letters, and the next ones are judged', async () => {
    answer = ({ content }) => (content === 'odd' ? 422 : content.includes('rude') ? { action: 'redact', reason: 'insult' } : {})
    await system.openRoom('refused', 'ann', 'bob')
    const ann = await join('ann', 'refused')
    await ann.request({ type: 'sendMessage', message: 'odd' })
    await ann.request({ type: 'sendMessage', message: 'rude' })
    await ann.waitFor((f) => f['event'] === 'messageRedacted')
    const letters = await readDeadLetters(system, 1, 20_000, 'moderation.dlq')
    expect(letters).toMatchObject([{ headers: { 'error-code': 'delivery_refused' } }])
    expect(letters[0]!.body).toContain('"content":"odd"')
  })

  test('killed and started again, it redacts nothing twice and loses nothing', async () => {
    answer = ({ content }) => (content.includes('rude') ? { action: 'redact', reason: 'insult' } : { action: 'allow' })
    await system.openRoom('killed', 'ann', 'bob')
    const ann = await join('ann', 'killed')
    for (let i = 0; i < 10; i++) {
      await ann.request({ type: 'sendMessage', message: `rude ${i}` })
      if (i === 4) await system.process('moderation-1').kill()
    }
    await system.process('moderation-1').start()
    await expect.poll(() => ann.frames.filter((f) => f['event'] === 'messageRedacted').length, { timeout: 30_000 }).toBe(10)
    await expect.poll(async () => (await system.pool.query("SELECT count(*)::int AS n FROM room_events WHERE room_id = 'killed' AND event_type = 'messageRedacted'")).rows).toEqual([{ n: 10 }])
  })
})

describe('before anything is delivered', () => {
  test('banned words, foreign links and the same again and again are refused with their codes, and reach nobody', async () => {
    answer = () => ({ action: 'allow' })
    await system.openRoom('rules', 'ann', 'bob')
    const [ann, bob] = [await join('ann', 'rules'), await join('bob', 'rules')]
    expect(await ann.request({ type: 'sendMessage', message: 'such a b4dw0rd' })).toMatchObject({ type: 'error', code: 'content_not_allowed', retriable: false })
    expect(await ann.request({ type: 'sendMessage', message: 'see evil.com' })).toMatchObject({ type: 'error', code: 'link_not_allowed' })
    for (let i = 0; i < 5; i++) expect(await ann.request({ type: 'sendMessage', message: 'see good.com' })).toMatchObject({ type: 'ack' })
    const flood = await ann.request({ type: 'sendMessage', message: 'See GOOD.com!' })
    expect(flood).toMatchObject({ type: 'error', code: 'duplicate_flood', retriable: true })
    expect(flood['retryAfterMs']).toBeGreaterThan(0)
    await ann.request({ type: 'sendMessage', message: 'the end' })
    await bob.waitFor((f) => f['content'] === 'the end')
    expect(bob.frames.filter((f) => f['type'] === 'newMessage')).toHaveLength(6)
  })

  test('a report reaches moderators and its reporter; a moderator reads any room and writes nothing there', async () => {
    await system.openRoom('reported', 'ann', 'bob')
    const [ann, bob, mod] = [await join('ann', 'reported'), await join('bob', 'reported'), await join('mod', 'reported', 'moderator')]
    const { messageId } = await ann.request({ type: 'sendMessage', message: 'dubious' })
    await bob.waitFor((f) => f['content'] === 'dubious')
    expect(await bob.request({ type: 'reportMessage', messageId, reason: 'fraud', note: 'look' })).toMatchObject({ type: 'ack', event: { event: 'messageReported', reason: 'fraud' } })
    await mod.waitFor((f) => f['event'] === 'messageReported' && f['by'] === 'bob' && f['note'] === 'look')
    await ann.waitFor((f) => f['event'] === 'private')
    expect(JSON.stringify(ann.frames)).not.toContain('fraud')
    expect(await mod.request({ type: 'sendMessage', message: 'hi' })).toMatchObject({ type: 'error', code: 'not_allowed' })
    await expect.poll(async () => (await system.pool.query("SELECT reporter_id, reason, note FROM message_reports WHERE room_id = 'reported'")).rows).toEqual([{ reporter_id: 'bob', reason: 'fraud', note: 'look' }])
  })
})
