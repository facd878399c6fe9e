import { describe, expect, test } from 'vitest'
import { type ClientMessageId, directRoomId, disputeRoomId, groupRoomId, jobRoomId, type RoomId, type UserId } from '#libs/domain/ids.ts'
import { newConversation, newDispute, newJob } from './conversations.ts'

const [ann, bob, eve] = ['ann', 'bob', 'eve'] as UserId[] as [UserId, UserId, UserId]
const id = '0197a0b0-0000-7000-8000-000000000001' as ClientMessageId
const invalid = expect.objectContaining({ code: 'invalid_request' })

describe('a conversation', () => {
  test('of two is the same whoever asks', () => {
    const byAnn = newConversation(ann, { kind: 'direct', participants: [bob] }, id)
    expect(byAnn).toEqual({ roomId: directRoomId(ann, bob), body: { type: 'createRoom', kind: 'direct', participants: [{ userId: ann, role: 'member' }, { userId: bob, role: 'member' }] } })
    expect(newConversation(bob, { kind: 'direct', participants: [ann, bob] }, id)).toEqual(byAnn)
  })

  test('of two has one other, and nothing of a group', () => {
    for (const participants of [[], [ann], [bob, eve]]) expect(() => newConversation(ann, { kind: 'direct', participants }, id)).toThrow(invalid)
    for (const extra of [{ name: 'x' }, { metadata: {} }, { history: 'all' as const }, { clientId: 'x' }]) {
      expect(() => newConversation(ann, { kind: 'direct', participants: [bob], ...extra }, id)).toThrow(invalid)
    }
  })

  test('of many is its owner\'s, under his id of it', () => {
    const { roomId, body } = newConversation(ann, { kind: 'group', participants: [bob, ann, eve], clientId: 'team', name: 'Team', metadata: { a: 'b' }, history: 'fromJoin' }, id)
    expect(roomId).toBe(groupRoomId(ann, 'team'))
    expect(body).toMatchObject({ kind: 'group', name: 'Team', metadata: { a: 'b' }, history: 'fromJoin' })
    expect(body.participants).toEqual([{ userId: ann, role: 'owner' }, { userId: bob, role: 'member' }, { userId: eve, role: 'member' }])
    expect(newConversation(ann, { kind: 'group', participants: [] }, id).roomId).toBe(groupRoomId(ann, id))
  })
})

describe('a job', () => {
  test('is of its client and its provider', () => {
    const { roomId, body } = newJob(bob, { clientId: ann, providerId: bob, jobId: 'j1' })
    expect(roomId).toBe(jobRoomId('j1'))
    expect(body).toEqual({ type: 'createRoom', kind: 'job', subjectId: 'j1', participants: [{ userId: ann, role: 'client' }, { userId: bob, role: 'provider' }] })
    expect(() => newJob(eve, { clientId: ann, providerId: bob, jobId: 'j1' })).toThrow(expect.objectContaining({ code: 'not_allowed' }))
    expect(() => newJob(ann, { clientId: ann, providerId: ann, jobId: 'j1' })).toThrow(invalid)
  })
})

describe('a dispute', () => {
  const subject = { roomId: 'o1' as RoomId, kind: 'order' as const, readOnly: true, subjectId: null, participants: [{ userId: ann, role: 'customer' as const, sinceSeq: 1 }, { userId: bob, role: 'vendor' as const, sinceSeq: 1 }] }

  test('takes the people of the room that it is about, and their roles', () => {
    const { roomId, body } = newDispute(subject)
    expect(roomId).toBe(disputeRoomId(subject.roomId))
    expect(body).toEqual({ type: 'createRoom', kind: 'dispute', subjectId: 'o1', participants: [{ userId: ann, role: 'customer' }, { userId: bob, role: 'vendor' }] })
    expect(newDispute({ ...subject, kind: 'job', readOnly: false, subjectId: 'j1' }).body.subjectId).toBe('j1')
  })

  test('about an order waits for its end; of other rooms there is none', () => {
    const wrong = expect.objectContaining({ code: 'wrong_room_kind' })
    expect(() => newDispute({ ...subject, readOnly: false })).toThrow(wrong)
    for (const kind of ['direct', 'group', 'dispute'] as const) expect(() => newDispute({ ...subject, kind })).toThrow(wrong)
  })
})
