import { v7 as uuidV7 } from 'uuid'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { useStack } from '../support/stack.ts'
import { System } from '../support/system.ts'
import { ApiUsers, codeOf } from './api-users.ts'

let system: System
let api: ApiUsers
beforeAll(async () => {
  system = await System.start(await useStack(), 'api-moderation', { count: { edge: 0, 'sqs-bridge': 0, api: 1 } })
  api = new ApiUsers(system)
})
afterAll(() => system.close())

const MOD = 'mod.moderator'
let groups = 0
const newGroup = async (owner: string, others: string[]): Promise<string> => (await api.post('/rooms', owner, { kind: 'group', participants: others, clientId: `m${++groups}` })).body.roomId
const say = async (roomId: string, user: string, message: string) => (await api.post(`/rooms/${roomId}/messages`, user, { message })).body
const report = async (roomId: string, messageId: string, user: string, body: object) => (await api.post(`/rooms/${roomId}/messages/${messageId}/reports`, user, { ...body })).body

describe('a reported message', () => {
  let roomId: string
  beforeEach(async () => {
    roomId = await newGroup('ann', ['bob', 'cid'])
  })

  test('is listed for moderators with what it says, until it is taken away; each request is written down', async () => {
    const { messageId, seq: messageSeq } = await say(roomId, 'bob', 'an insult')
    const { seq } = await report(roomId, messageId, 'ann', { reason: 'abuse', note: 'again' })
    await api.reached(roomId, seq, 'ann')
    const url = `/moderation/reports?state=open&roomId=${roomId}`
    const before = (await api.get(url, MOD)).body
    expect(before).toEqual({
      reports: [{ roomId, seq, messageId, messageSeq, senderId: 'bob', content: 'an insult', reportedBy: 'ann', reason: 'abuse', note: 'again', timestamp: expect.any(Number), state: 'open', redacted: null }],
      nextCursor: null,
    })
    const redaction = await api.post(`/moderation/rooms/${roomId}/redactions`, MOD, { messageId, reason: 'insult' })
    expect(redaction).toMatchObject({ status: 200, body: { roomId, messageId, seq: seq + 1 } })
    await api.reached(roomId, seq + 1, 'ann')
    expect((await api.get(url, MOD)).body.reports).toEqual([])
    expect((await api.get(`/moderation/reports?state=closed&roomId=${roomId}`, 'boss.admin')).body.reports).toMatchObject([{ messageId, state: 'closed', redacted: 'insult', content: 'an insult' }])
    const { rows } = await system.pool.query(`SELECT actor, action, room_id FROM admin_audit WHERE action = 'list_reports' ORDER BY id`)
    expect(rows).toEqual([...['mod', 'mod', 'boss'].map((actor) => ({ actor, action: 'list_reports', room_id: roomId }))])
  })

  test('is shown to nobody in the room once it was taken away, whatever they ask for', async () => {
    const { messageId } = await say(roomId, 'bob', 'first secret')
    await api.write('PATCH', `/rooms/${roomId}/messages/${messageId}`, 'bob', { message: 'second secret' })
    const { body } = await api.post(`/moderation/rooms/${roomId}/redactions`, MOD, { messageId, reason: 'insult' })
    await api.reached(roomId, body.seq, 'ann')
    for (const user of ['ann', 'bob']) {
      const pages = await Promise.all([`/rooms/${roomId}/messages`, '/chats'].map((url) => api.get(url, user)))
      expect(pages[0]!.body.messages).toMatchObject([{ messageId, content: null, deleted: true, redacted: 'insult' }])
      expect(JSON.stringify(pages)).not.toContain('secret')
    }
    // The record keeps it, for those who may read everything.
    expect(JSON.stringify((await api.get(`/admin/rooms/${roomId}/events`, MOD)).body)).toContain('second secret')
    expect(codeOf(await api.write('PATCH', `/rooms/${roomId}/messages/${messageId}`, 'bob', { message: 'third' }))).toEqual([409, 'message_deleted'])
  })

  test('pages of reports neither skip nor repeat one', async () => {
    const reported: number[] = []
    for (let n = 0; n < 5; n++) {
      const { messageId } = await say(roomId, 'bob', `spam ${n}`)
      reported.push((await report(roomId, messageId, n % 2 ? 'ann' : 'cid', { reason: 'spam' })).seq)
    }
    await api.reached(roomId, reported.at(-1)!, 'ann')
    const seqs: number[] = []
    for (let cursor: string | null = ''; cursor !== null; ) {
      const { body } = await api.get(`/moderation/reports?roomId=${roomId}&limit=2${cursor && `&cursor=${cursor}`}`, MOD)
      seqs.push(...body.reports.map((one: { seq: number }) => one.seq))
      cursor = body.nextCursor
    }
    expect(seqs).toEqual(reported.toReversed())
  })

  test('is found by its id however it is written, and none where there is none', async () => {
    const { messageId } = await say(roomId, 'bob', 'old')
    expect(await report(roomId, messageId.toUpperCase(), 'ann', { reason: 'fraud' })).toMatchObject({ messageId, seq: 3 })
    expect(codeOf(await api.post(`/rooms/${roomId}/messages/${uuidV7()}/reports`, 'ann', { reason: 'fraud' }))).toEqual([404, 'message_not_found'])
  })
})

describe('a room', () => {
  test('that is frozen says so, takes nothing, and goes on when it is let', async () => {
    const roomId = await newGroup('ann', ['bob'])
    const body = { on: true, reason: 'they shout', clientMessageId: uuidV7() }
    const first = await api.post(`/moderation/rooms/${roomId}/freeze`, MOD, body)
    expect(first).toMatchObject({ status: 200, body: { roomId, seq: 2 } })
    expect(await api.post(`/moderation/rooms/${roomId}/freeze`, MOD, body)).toMatchObject({ status: 200, body: { ...first.body, repeated: true } })
    expect(await api.reached(roomId, 2, 'ann')).toMatchObject({ frozen: true, readOnly: false })
    expect(codeOf(await api.post(`/rooms/${roomId}/messages`, 'ann', { message: 'hi' }))).toEqual([409, 'room_frozen'])
    await api.post(`/moderation/rooms/${roomId}/freeze`, MOD, { on: false })
    expect((await api.post(`/rooms/${roomId}/messages`, 'ann', { message: 'hi' })).status).toBe(201)
  })

  test('is left by whom a moderator takes out, who reads it no more', async () => {
    const roomId = await newGroup('ann', ['bob'])
    await say(roomId, 'bob', 'hi')
    const { body } = await api.post(`/moderation/rooms/${roomId}/removals`, MOD, { userId: 'bob', reason: 'insults' })
    await api.reached(roomId, body.seq, 'ann')
    expect(codeOf(await api.get(`/rooms/${roomId}/messages`, 'bob'))).toEqual([403, 'not_a_participant'])
    const { events } = (await api.get(`/admin/rooms/${roomId}/events`, MOD)).body
    expect(events.at(-1)).toMatchObject({ type: 'participantRemoved', body: { by: 'mod', reason: 'moderated', participant: { userId: 'bob' } } })
  })

  test('is moderated by moderators alone', async () => {
    const roomId = await newGroup('ann', ['bob'])
    for (const what of ['freeze', 'redactions', 'removals']) {
      const body = { on: true, messageId: uuidV7(), userId: 'bob', reason: 'x' }
      expect(codeOf(await api.ask('POST', `/moderation/rooms/${roomId}/${what}`, 'ann', body))).toEqual([403, 'moderator_only'])
      expect(codeOf(await api.ask('POST', `/moderation/rooms/${roomId}/${what}`, 'boss.admin', body))).toEqual([403, 'admin_is_read_only'])
    }
    expect(codeOf(await api.post(`/rooms/${roomId}/messages`, MOD, { message: 'hi' }))).toEqual([403, 'not_allowed'])
  })
})
