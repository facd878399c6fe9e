import { describe, expect, test } from 'vitest'
import { decide } from './decide.ts'
import { evolve } from './evolve.ts'
import { type ClientMessageId, clientMessageIdOf, disputeRoomId, groupRoomId, jobRoomId, type MessageId, messageIdOf, type RoomId, type UserId } from './ids.ts'
import type { RoomCommandBody } from './inputs.ts'
import { CLIENT_CLOCK_AHEAD_MS, DEDUPE_WINDOW_MS, defaultRoomLimits, fixedLimits, type RoomLimits } from './limits.ts'
import { type Attachment, attachmentKeyPrefix, payloadText } from './payload.ts'
import type { Entry, Participant, RoomState } from './room.ts'

/** Every bound of limits.ts: what is just within becomes an event, what is just beyond gets the code that docs/limits.md says. */
const T0 = 1_700_000_000_000
const SECOND_MS = 1_000
const u = (id: string) => id as UserId
const groupId = groupRoomId(u('a'), '1')
const host = 'files.example'
const limits: RoomLimits = { ...defaultRoomLimits, participantsMax: 4, changedMessagesMax: 2, attachmentHosts: [host] }

class Table {
  nowMs = T0
  state: RoomState | undefined
  readonly #roomId: RoomId
  readonly #limits: RoomLimits
  #nr = 0

  constructor(roomId: RoomId, roomLimits: RoomLimits) {
    this.#roomId = roomId
    this.#limits = roomLimits
  }

  ask(senderId: string, body: RoomCommandBody, clientMessageId: ClientMessageId = clientMessageIdOf(`nr ${this.#nr++}`, this.nowMs)): string {
    const entries = decide(this.state, { roomId: this.#roomId, commandId: 'c', senderId: u(senderId), clientMessageId, ...body }, this.nowMs, this.#limits)
    for (const entry of entries) this.state = evolve(this.state, this.#roomId, entry)
    return outcome(entries)
  }

  say(content = 'hi', more: Partial<RoomCommandBody & { type: 'sendMessage' }> = {}): string {
    return this.ask('a', { type: 'sendMessage', content, salt: 's', ...more })
  }

  /** The message that `say` made, apart from the second's count. */
  message(name: string): MessageId {
    this.nowMs += SECOND_MS
    const id = clientMessageIdOf(name, this.nowMs)
    expect(this.ask('a', { type: 'sendMessage', content: 'hi', salt: 's' }, id)).toBe('messageSent')
    return messageIdOf(this.#roomId, u('a'), id)
  }
}

const outcome = (entries: readonly Entry[]): string => {
  const last = entries.at(-1)!
  return last.type === 'refused' ? last.code : last.type
}
const people = (count: number): Participant[] => Array.from({ length: count }, (_, i) => ({ userId: u(String.fromCharCode(97 + i)), role: i === 0 ? 'owner' : 'member' }))

function group(count = 2, roomLimits = limits): Table {
  const table = new Table(groupId, roomLimits)
  expect(table.ask('a', { type: 'createRoom', kind: 'group', participants: people(count) })).toBe('roomOpened')
  return table
}

function dispute(count = 2): Table {
  const table = new Table(disputeRoomId(jobRoomId('j')), limits)
  expect(table.ask('a', { type: 'createRoom', kind: 'dispute', participants: people(count).map(({ userId }) => ({ userId, role: 'client' })) })).toBe('roomOpened')
  return table
}

const attachment = (change: Partial<Attachment> = {}): Attachment => ({ key: `${attachmentKeyPrefix(groupId)}1`, mimeType: 'image/png', bytes: 1, name: 'a.png', ...change })
const withAttachments = (...attachments: Attachment[]) => ({ payload: payloadText({ attachments })! })

describe('of a message', () => {
  test('contentCharsMax counts code points, of what is sent and of what is edited', () => {
    const table = group()
    const { contentCharsMax } = limits
    expect(table.say('😀'.repeat(contentCharsMax))).toBe('messageSent')
    expect(table.say('😀'.repeat(contentCharsMax + 1))).toBe('content_too_long')
    expect(table.say('')).toBe('content_empty')
    const messageId = table.message('m')
    expect(table.ask('a', { type: 'editMessage', messageId, content: 'x'.repeat(contentCharsMax), salt: 's' })).toBe('messageEdited')
    expect(table.ask('a', { type: 'editMessage', messageId, content: 'x'.repeat(contentCharsMax + 1), salt: 's' })).toBe('content_too_long')
  })

  test('messagesPerSecondMax counts what becomes an event, and says when the next second begins', () => {
    const table = group()
    table.nowMs = T0 + SECOND_MS + 250
    const messageId = table.message('first')
    for (let i = 1; i < limits.messagesPerSecondMax; i++) expect(table.ask('a', { type: 'react', messageId, emoji: '👍', on: i % 2 === 0 })).toBe('reactionSet')
    expect(table.say()).toBe('rate_limited')
    expect(table.ask('a', { type: 'changeRoom', name: 'x' })).toBe('rate_limited')
    expect(table.ask('b', { type: 'sendMessage', content: 'hi', salt: 's' })).toBe('messageSent')
    table.nowMs += 750
    expect(table.say()).toBe('messageSent')
  })

  test('mentionsMax', () => {
    const names = (count: number) => ({ mentions: Array.from({ length: count }, (_, i) => u(`u${i}`)) })
    expect(group().say('hi', names(fixedLimits.mentionsMax))).toBe('messageSent')
    expect(group().say('hi', names(fixedLimits.mentionsMax + 1))).toBe('invalid_request')
  })

  test('attachmentsMax, attachmentBytesMax, attachmentHosts and payloadCharsMax', () => {
    const { attachmentsMax, attachmentBytesMax } = limits
    const many = (count: number) => withAttachments(...Array.from({ length: count }, () => attachment()))
    expect(group().say('', many(attachmentsMax))).toBe('messageSent')
    expect(group().say('', many(attachmentsMax + 1))).toBe('invalid_attachment')
    expect(group().say('', withAttachments(attachment({ bytes: attachmentBytesMax })))).toBe('messageSent')
    expect(group().say('', withAttachments(attachment({ bytes: attachmentBytesMax + 1 })))).toBe('invalid_attachment')
    const linked = (url: string) => withAttachments({ url, mimeType: 'image/png', bytes: 1, name: 'a.png' })
    expect(group().say('', linked(`https://${host}/a.png`))).toBe('messageSent')
    expect(group().say('', linked('https://elsewhere.example/a.png'))).toBe('invalid_attachment')
    const { payloadCharsMax } = fixedLimits
    const roomy = { ...limits, attachmentsMax: 100 }
    const empty = withAttachments(...Array.from({ length: 60 }, () => attachment({ name: 'x' }))).payload.length
    const sized = (chars: number) => {
      const names = Array.from({ length: 60 }, (_, i) => 'x'.repeat(1 + Math.floor((chars - empty + i) / 60)))
      return withAttachments(...names.map((name) => attachment({ name })))
    }
    expect(sized(payloadCharsMax).payload.length).toBe(payloadCharsMax)
    expect(group(2, roomy).say('', sized(payloadCharsMax))).toBe('messageSent')
    expect(group(2, roomy).say('', sized(payloadCharsMax + 1))).toBe('invalid_attachment')
  })

  test('emojiCharsMax', () => {
    const table = group()
    const messageId = table.message('m')
    const react = (emoji: string) => table.ask('a', { type: 'react', messageId, emoji, on: true })
    expect(react('x'.repeat(fixedLimits.emojiCharsMax))).toBe('reactionSet')
    expect(react('x'.repeat(fixedLimits.emojiCharsMax + 1))).toBe('invalid_request')
  })

  test('editWindowMs, for edits and deletions', () => {
    const table = group()
    const messageId = table.message('m')
    const sentMs = table.nowMs
    table.nowMs = sentMs + limits.editWindowMs
    expect(table.ask('a', { type: 'editMessage', messageId, content: 'new', salt: 's' })).toBe('messageEdited')
    table.nowMs++
    expect(table.ask('a', { type: 'editMessage', messageId, content: 'newer', salt: 's' })).toBe('edit_window_over')
    expect(table.ask('a', { type: 'deleteMessage', messageId })).toBe('edit_window_over')
  })

  test('changedMessagesMax, of edited and deleted ones together; one that is changed already may be changed again', () => {
    const table = group()
    const ids = ['1', '2', '3'].map((name) => table.message(name))
    expect(table.ask('a', { type: 'editMessage', messageId: ids[0]!, content: 'new', salt: 's' })).toBe('messageEdited')
    expect(table.ask('a', { type: 'deleteMessage', messageId: ids[1]! })).toBe('messageDeleted')
    expect(table.ask('a', { type: 'deleteMessage', messageId: ids[2]! })).toBe('too_many_changes')
    expect(table.ask('a', { type: 'editMessage', messageId: ids[0]!, content: 'newer', salt: 's' })).toBe('messageEdited')
  })

  test('a clientMessageId is good for DEDUPE_WINDOW_MS, and CLIENT_CLOCK_AHEAD_MS ahead', () => {
    const sentAt = (idMs: number) => group().ask('a', { type: 'sendMessage', content: 'hi', salt: 's' }, clientMessageIdOf('m', idMs))
    expect(sentAt(T0 - DEDUPE_WINDOW_MS)).toBe('messageSent')
    expect(sentAt(T0 - DEDUPE_WINDOW_MS - 1)).toBe('client_message_id_expired')
    expect(sentAt(T0 + CLIENT_CLOCK_AHEAD_MS)).toBe('messageSent')
    expect(sentAt(T0 + CLIENT_CLOCK_AHEAD_MS + 1)).toBe('client_message_id_expired')
  })
})

describe('of a room', () => {
  test('participantsMax: at its creation, by being added, by an invitation', () => {
    const { participantsMax } = limits
    const tooMany = new Table(groupId, limits)
    expect(tooMany.ask('a', { type: 'createRoom', kind: 'group', participants: people(participantsMax + 1) })).toBe('too_many_participants')
    const table = group(participantsMax - 1)
    expect(table.ask('a', { type: 'addParticipant', userId: u('y'), role: 'member' })).toBe('participantAdded')
    expect(table.ask('a', { type: 'addParticipant', userId: u('z'), role: 'member' })).toBe('too_many_participants')
    expect(table.ask('a', { type: 'addParticipant', userId: u('y'), role: 'observer' })).toBe('participantAdded')
    const full = dispute(participantsMax)
    expect(full.ask('a', { type: 'inviteMediator', userId: u('m') })).toBe('mediatorInvited')
    expect(full.ask('m', { type: 'acceptInvitation' })).toBe('too_many_participants')
  })

  test('invitedMax', () => {
    const table = dispute()
    for (let i = 0; i < fixedLimits.invitedMax; i++) expect(table.ask('a', { type: 'inviteMediator', userId: u(`m${i}`) })).toBe('mediatorInvited')
    expect(table.ask('a', { type: 'inviteMediator', userId: u('one-more') })).toBe('too_many_participants')
  })

  test('nameCharsMax counts code points, of a new room and of a new name', () => {
    const { nameCharsMax } = fixedLimits
    const create = (name: string) => new Table(groupId, limits).ask('a', { type: 'createRoom', kind: 'group', participants: people(2), name })
    expect([create('😀'.repeat(nameCharsMax)), create('😀'.repeat(nameCharsMax + 1))]).toEqual(['roomOpened', 'invalid_request'])
    const rename = (name: string) => group().ask('a', { type: 'changeRoom', name })
    expect([rename('😀'.repeat(nameCharsMax)), rename('😀'.repeat(nameCharsMax + 1))]).toEqual(['roomChanged', 'invalid_request'])
  })

  test('metadataEntriesMax, metadataKeyCharsMax, metadataValueCharsMax', () => {
    const { metadataEntriesMax, metadataKeyCharsMax, metadataValueCharsMax } = fixedLimits
    const set = (metadata: Record<string, string>) => group().ask('a', { type: 'changeRoom', metadata })
    const entries = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, 'v']))
    expect([set(entries(metadataEntriesMax)), set(entries(metadataEntriesMax + 1))]).toEqual(['roomChanged', 'invalid_request'])
    expect([set({ ['k'.repeat(metadataKeyCharsMax)]: 'v' }), set({ ['k'.repeat(metadataKeyCharsMax + 1)]: 'v' })]).toEqual(['roomChanged', 'invalid_request'])
    expect([set({ k: 'v'.repeat(metadataValueCharsMax) }), set({ k: 'v'.repeat(metadataValueCharsMax + 1) })]).toEqual(['roomChanged', 'invalid_request'])
  })

  test('noteCharsMax counts code points', () => {
    const resolve = (note: string) => dispute().ask('a', { type: 'resolveDispute', note })
    expect(resolve('😀'.repeat(fixedLimits.noteCharsMax))).toBe('roomClosed')
    expect(resolve('😀'.repeat(fixedLimits.noteCharsMax + 1))).toBe('invalid_request')
  })
})
