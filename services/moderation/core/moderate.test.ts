import { beforeEach, describe, expect, test } from 'vitest'
import { ChatError } from '#libs/domain/errors.ts'
import { clientMessageIdOf, messageIdOf, type RoomId, type UserId } from '#libs/domain/ids.ts'
import type { RoomCommand } from '#libs/domain/inputs.ts'
import type { Entry } from '#libs/domain/room.ts'
import { decisionToAvro } from '#libs/streams/avro-shapes.ts'
import type { InRecord } from '#libs/streams/record.ts'
import { OWNERSHIP_MARKER } from '#libs/streams/topics.ts'
import { moderate, type ModerationPorts, verdictOf } from './moderate.ts'
import { readSaid, type Said } from './said.ts'
import { Slots } from './slots.ts'

const T0 = 1_700_000_000_000
const ROOM = 'order-1' as RoomId
const ann = 'ann' as UserId
const messageOf = (nr: number) => messageIdOf(ROOM, ann, clientMessageIdOf(`${nr}`, T0))
const text = (content: string) => ({ content, salt: 's', contentHash: 'h' })

const sent = (nr: number, timestampMs = T0): Entry => ({ type: 'messageSent', seq: nr, timestampMs, messageId: messageOf(nr), clientMessageId: clientMessageIdOf(`${nr}`, T0), senderId: ann, messageIndex: nr, ...text(`text ${nr}`) })
const edited: Entry = { type: 'messageEdited', seq: 9, timestampMs: T0, messageId: messageOf(1), messageSeq: 1, revision: 1, by: ann, clientMessageId: clientMessageIdOf('e', T0), ...text('better') }

const codec = { decode: (bytes: Buffer) => JSON.parse(bytes.toString()), learn: () => undefined }
const start = { nextOffset: 0n, ownerEpoch: -1n, lastSources: new Map<string, bigint>() }
function recordsOf(decisions: readonly { readonly entries: readonly Entry[]; readonly commandId?: string; readonly epoch?: string }[]): InRecord[] {
  const marker: InRecord = { offset: 0n, key: null, value: Buffer.from('{}'), headers: { 'event-type': OWNERSHIP_MARKER }, timestampMs: T0 }
  return [marker, ...decisions.map(({ entries, commandId, epoch = '0' }, i): InRecord => {
    const headers = { 'owner-epoch': epoch, source: `chat-commands:${i}`, 'event-type': entries.map(({ type }) => type).join(',') }
    return { offset: BigInt(i + 1), key: ROOM, value: Buffer.from(JSON.stringify(decisionToAvro({ roomId: ROOM, commandId, entries }))), headers, timestampMs: T0 }
  })]
}
const saidOf = async (...entries: Entry[]) => (await readSaid(codec, 3, start, recordsOf(entries.map((entry) => ({ entries: [entry] }))))).facts

let asked: { id: string; body: { content: string } }[]
let commands: RoomCommand[]
let letters: { code: string }[]
let verdicts: string[]
let answer: (body: { content: string }) => string | Promise<string>
const ports: ModerationPorts = {
  ask: async (id, body) => {
    asked.push({ id, body: JSON.parse(body) as { content: string } })
    return answer(JSON.parse(body) as { content: string })
  },
  send: async (command) => void commands.push(command),
  deadLetter: async (letter) => void letters.push(letter),
  slots: new Slots(2),
  senderId: 'moderation' as UserId,
  ageMaxMs: 1_000,
  nowMs: () => T0 + 500,
  onVerdict: (verdict) => verdicts.push(verdict),
}
const { signal } = new AbortController()
beforeEach(() => {
  asked = []
  commands = []
  letters = []
  verdicts = []
  answer = () => '{"action":"allow"}'
})

describe('what is read', () => {
  test('messages and edits of valid records, and refusals of our own commands', async () => {
    const records = recordsOf([
      { entries: [sent(1)] },
      { entries: [sent(2)], epoch: '7' },
      { entries: [edited, { type: 'roomClosed', seq: 10, timestampMs: T0, reason: 'delivered' }] },
      { entries: [{ type: 'refused', code: 'rate_limited' }], commandId: 'somebody-else' },
      { entries: [{ type: 'refused', code: 'too_many_changes' }], commandId: 'moderation:x' },
    ])
    const { after, facts } = await readSaid(codec, 3, start, records)
    expect(facts).toMatchObject([{ kind: 'said', event: { seq: 1 } }, { kind: 'said', event: { seq: 9 } }, { kind: 'refused', commandId: 'moderation:x', code: 'too_many_changes' }])
    expect(after.nextOffset).toBe(6n)
    const again = (await readSaid(codec, 3, start, records)).facts as Said[]
    expect(again.map(({ id }) => id)).toEqual((facts as Said[]).map(({ id }) => id))
    expect(((await readSaid(codec, 4, start, records)).facts as Said[])[0]!.id).not.toBe((facts as Said[])[0]!.id)
  })
})

describe('what is done', () => {
  test('each is asked about once; what shall go is redacted under an id made from its place in the log', async () => {
    answer = ({ content }) => (content === 'text 1' ? '' : '{"action":"redact","reason":"insult"}')
    const facts = (await saidOf(sent(1), sent(2), edited)) as Said[]
    await moderate(ports, facts, new Set(), signal)
    expect(asked.map(({ id }) => id)).toEqual(facts.map(({ id }) => id))
    expect(asked.map(({ body }) => body)).toMatchObject([{ type: 'message.sent', roomId: ROOM, seq: 1, messageSeq: 1, senderId: 'ann', content: 'text 1' }, {}, { type: 'message.edited', seq: 9, messageSeq: 1, revision: 1, content: 'better' }])
    expect(commands).toEqual(
      [[2, 1], [1, 2]].map(([message, fact]) => ({
        type: 'redactMessage', roomId: ROOM, commandId: `moderation:${facts[fact!]!.id}`, clientMessageId: facts[fact!]!.id, senderId: 'moderation', messageId: messageOf(message!), messageSeq: message!, reason: 'insult',
      })),
    )
    expect(verdicts).toEqual(['allow', 'redact', 'redact'])
  })

  test('while the webhook cannot be asked all waits, and what was judged is not asked again', async () => {
    const facts = await saidOf(sent(1), sent(2), sent(3))
    const done = new Set<string>()
    answer = ({ content }) => {
      if (content === 'text 2') throw new ChatError('unavailable', 'down')
      return ''
    }
    await expect(moderate(ports, facts, done, signal)).rejects.toMatchObject({ code: 'unavailable' })
    expect(asked).toHaveLength(3)
    answer = () => ''
    await moderate(ports, facts, done, signal)
    expect(asked.map(({ body }) => body.content)).toEqual(['text 1', 'text 2', 'text 3', 'text 2'])
  })

  test('what the webhook refuses, or answers in other words, is dead-lettered, and the rest goes on', async () => {
    answer = ({ content }) => {
      if (content === 'text 1') throw new ChatError('delivery_refused', 'answers 422')
      return content === 'text 2' ? '{"action":"redact"}' : ''
    }
    await moderate(ports, await saidOf(sent(1), sent(2), sent(3)), new Set(), signal)
    expect(letters).toMatchObject([{ code: 'delivery_refused', key: ROOM, reason: expect.stringContaining('422') }, { code: 'delivery_refused' }])
    expect(verdicts.toSorted()).toEqual(['allow', 'dead_letter', 'dead_letter'])
    expect(commands).toEqual([])
  })

  test('a redaction that the log has refused is dead-lettered', async () => {
    await moderate(ports, [{ kind: 'refused', roomId: ROOM, commandId: 'moderation:x', code: 'too_many_changes' }], new Set(), signal)
    expect(letters).toMatchObject([{ key: ROOM, code: 'too_many_changes' }])
  })

  test('what is too old passes unasked, and is counted', async () => {
    await moderate(ports, await saidOf(sent(1, T0 - 600), sent(2, T0 - 500)), new Set(), signal)
    expect(asked.map(({ body }) => body.content)).toEqual(['text 2'])
    expect(verdicts).toEqual(['too_old', 'allow'])
  })

  test('no more are on their way at once than may be', async () => {
    let [now, most] = [0, 0]
    answer = async () => {
      most = Math.max(most, ++now)
      await new Promise((resolve) => setImmediate(resolve))
      now--
      return ''
    }
    await moderate(ports, await saidOf(...Array.from({ length: 9 }, (_, i) => sent(i + 1))), new Set(), signal)
    expect([most, asked.length]).toEqual([2, 9])
  })

  test('stopped in the middle it does not count as done', async () => {
    const stop = new AbortController()
    answer = () => {
      stop.abort(new ChatError('shutting_down'))
      return ''
    }
    await expect(moderate(ports, await saidOf(sent(1), sent(2), sent(3)), new Set(), stop.signal)).rejects.toMatchObject({ code: 'shutting_down' })
    expect(asked).toHaveLength(1)
  })

  test.each([['', undefined], [' ', undefined], ['{"action":"allow"}', undefined], ['{"action":"redact","reason":"x"}', 'x']])('%j is an answer', (said, reason) => expect(verdictOf(said)).toBe(reason))
  test.each(['{}', 'null', '[]', 'ok', '{"action":"redact"}', '{"action":"redact","reason":""}', '{"action":"redact","reason":7}', `{"action":"redact","reason":"${'x'.repeat(1_001)}"}`, '{"action":"delete"}'])('%j is none', (said) => {
    expect(() => verdictOf(said)).toThrow(expect.objectContaining({ code: 'delivery_refused' }))
  })
})
