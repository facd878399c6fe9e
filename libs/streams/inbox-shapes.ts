import type { Chat, ChatChanged, InboxCommand, InboxEntry, InboxInput, InboxTotals, InboxUpdate, LastMessage, UserDecision, UserState } from '#libs/domain/inbox.ts'
import type { UserId } from '#libs/domain/ids.ts'
import { ChatError } from '#libs/domain/errors.ts'
import type { Checkpoint } from './avro-shapes.ts'
import { capitalized, optional, type OptionalFields, uncapitalized, unwrap, unwrapFields, unwrapOptional, wrap, wrapFields } from './avro-unions.ts'

// inbox-updates

const optionalInChanges: OptionalFields = { Entered: { name: 'string' }, Messages: { seen: 'long' }, Renamed: { name: 'string' } }

const lastToAvro = (last: LastMessage | undefined) => optional('orderchat.LastMessage', last)
const lastFromAvro = (union: unknown): { last?: LastMessage } => {
  const last = unwrapOptional(union) as LastMessage | undefined
  return last ? { last: { ...last } } : {}
}

export function inboxUpdateToAvro({ change: { type, ...fields }, ...update }: InboxUpdate): object {
  const given = 'messageCount' in fields && type === 'messages' ? { ...fields, last: lastToAvro((fields as { last?: LastMessage }).last) } : fields
  return { ...update, change: wrapFields(optionalInChanges, capitalized(type), given) }
}

const changeTypes: ReadonlySet<string> = new Set(['entered', 'left', 'messages', 'seen', 'closed', 'renamed', 'roleChanged', 'invited'] satisfies InboxUpdate['change']['type'][])

/** @throws ChatError `undecodable` for a type of a newer writer */
export function inboxUpdateFromAvro(value: unknown): InboxUpdate {
  const { change, ...update } = value as { change: unknown } & Omit<InboxUpdate, 'change'>
  const { name, fields } = unwrap(change)
  const type = uncapitalized(name)
  if (!changeTypes.has(type)) throw new ChatError('undecodable', `inbox change ${name} is not known to this version`)
  const { last, ...rest } = unwrapFields(optionalInChanges, name, fields)
  return { ...update, change: { ...rest, ...(type === 'messages' && lastFromAvro(last)), type } as InboxUpdate['change'] }
}

// inbox-commands

const optionalInCommands: OptionalFields = { SetChat: { mutedUntilMs: 'long', archived: 'boolean' } }

export function inboxCommandToAvro({ userId, commandId, type, ...fields }: InboxCommand): object {
  return { userId, commandId, body: wrapFields(optionalInCommands, capitalized(type), fields) }
}

/** @throws ChatError `undecodable` for a type of a newer writer */
export function inboxCommandFromAvro(value: unknown): InboxCommand {
  const { userId, commandId, body } = value as { userId: UserId; commandId: string; body: unknown }
  const { name, fields } = unwrap(body)
  if (name !== 'SetChat') throw new ChatError('undecodable', `inbox command ${name} is not known to this version`)
  return { userId, commandId, ...unwrapFields(optionalInCommands, name, fields), type: 'setChat' } as InboxCommand
}

export const isInboxCommand = (input: InboxInput): input is InboxCommand => 'commandId' in input

// user-events

const chatToAvro = ({ role, name, last, ...chat }: Chat): object => ({ ...chat, role: optional('string', role), name: optional('string', name), last: lastToAvro(last) })

function chatFromAvro({ role, name, last, ...chat }: any): Chat {
  const given = { role: unwrapOptional(role), name: unwrapOptional(name) }
  return { ...chat, ...(given.role !== undefined && { role: given.role }), ...(given.name !== undefined && { name: given.name }), ...lastFromAvro(last) }
}

const copyTotals = ({ unread, mentions, chats }: InboxTotals): InboxTotals => ({ unread, mentions, chats })

export function userMarkerToAvro(ownerId: string, nonce: string): object {
  return { body: wrap('OwnershipMarker', { ownerId, nonce }) }
}

export function userDecisionToAvro({ userId, commandId, entries }: UserDecision): object {
  return { body: wrap('UserDecision', { userId, commandId: optional('string', commandId), entries: entries.map(entryToAvro) }) }
}

function entryToAvro(entry: InboxEntry): object {
  const { type, ...fields } = entry
  return wrap(capitalized(type), type === 'chatChanged' ? { ...fields, chat: chatToAvro((entry as ChatChanged).chat) } : fields)
}

/** Undefined for a marker. Entries of unknown types keep their fields, `userSeq` among them. */
export function userDecisionFromAvro(value: unknown): UserDecision | undefined {
  const { name, fields } = unwrap((value as { body: unknown }).body)
  if (name !== 'UserDecision') return undefined
  return { userId: fields.userId as UserId, commandId: unwrapOptional(fields.commandId) as string | undefined, entries: (fields.entries as unknown[]).map(entryFromAvro) }
}

function entryFromAvro(union: unknown): InboxEntry {
  const { name, fields } = unwrap(union)
  const type = uncapitalized(name)
  return (type === 'chatChanged' ? { ...fields, type, chat: chatFromAvro(fields.chat), totals: copyTotals(fields.totals) } : { ...fields, type }) as InboxEntry
}

// inbox-state

export type InboxStateRecord =
  | { readonly kind: 'user'; readonly user: Omit<UserState, 'chats'> }
  | { readonly kind: 'chat'; readonly userId: UserId; readonly chat: Chat }
  | { readonly kind: 'checkpoint'; readonly checkpoint: Checkpoint }
  | { readonly kind: 'sentinel' }

export const userSnapshotToAvro = ({ userId, userSeq, lastEventMs, totals }: UserState): object => ({ body: wrap('UserSnapshot', { userId, userSeq, lastEventMs, totals }) })
export const chatSnapshotToAvro = (userId: UserId, chat: Chat): object => ({ body: wrap('ChatSnapshot', { userId, chat: chatToAvro(chat) }) })

/** `checkpointToAvro` and `sentinelToAvro` of avro-shapes.ts are the same here. */
export function inboxStateFromAvro(value: unknown): InboxStateRecord {
  const { name, fields } = unwrap((value as { body: unknown }).body)
  switch (name) {
    case 'UserSnapshot':
      return { kind: 'user', user: { userId: fields.userId, userSeq: fields.userSeq, lastEventMs: fields.lastEventMs, totals: copyTotals(fields.totals) } }
    case 'ChatSnapshot':
      return { kind: 'chat', userId: fields.userId, chat: chatFromAvro(fields.chat) }
    case 'Checkpoint': {
      const inputs = new Map(Object.entries(fields.inputs as Record<string, string>).map(([topic, next]) => [topic, BigInt(next)]))
      return { kind: 'checkpoint', checkpoint: { nextOffset: BigInt(fields.nextOffset), ownerEpoch: BigInt(fields.ownerEpoch), inputs } }
    }
    case 'Sentinel':
      return { kind: 'sentinel' }
    default:
      throw new ChatError('undecodable', `inbox state record ${name} is not known to this version`)
  }
}
