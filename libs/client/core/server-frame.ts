import type { ServerFrame } from '#libs/domain/frames.ts'

/** unknown: a type that a newer server may send and this client need not understand. */
export type ParsedFrame = { readonly kind: 'frame'; readonly frame: ServerFrame } | { readonly kind: 'unknown' } | { readonly kind: 'bad'; readonly detail: string }

type Fields = Record<string, unknown>

const isSeq = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0
const isText = (value: unknown): boolean => typeof value === 'string'
const isTime = (value: unknown): boolean => typeof value === 'number' && Number.isFinite(value)

const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null
const isChat = (value: unknown): boolean => isObject(value) && isText((value as Fields)['roomId']) && isText((value as Fields)['status']) && isTime((value as Fields)['lastActivityMs'])
const inboxChange = { userSeq: isSeq, chat: isChat, totals: isObject }

/** What this client relies on in each type: the rest of a frame goes to the app as it came. */
const required: Record<ServerFrame['type'], Record<string, (value: unknown) => boolean>> = {
  connected: { userId: isText, serverTimeMs: isTime, heartbeatMs: (ms) => isTime(ms) && (ms as number) > 0, expiresAtMs: isTime },
  joined: { roomId: isText, since: isSeq, headSeq: isSeq, messageCount: isSeq, receipts: (list) => list === undefined || Array.isArray(list) },
  newMessage: { roomId: isText, seq: isSeq, messageId: isText, clientMessageId: isText, senderId: isText, messageIndex: isSeq },
  roomUpdated: { roomId: isText, seq: isSeq },
  caughtUp: { roomId: isText, seq: isSeq },
  left: { roomId: isText, code: isText },
  heartbeat: { heads: (heads) => typeof heads === 'object' && heads !== null, serverTimeMs: isTime, userSeq: (seq) => seq === undefined || isSeq(seq) },
  typing: { roomId: isText, userId: isText, on: (on) => typeof on === 'boolean' },
  presence: { roomId: isText, users: Array.isArray },
  cardUpdated: { productId: isText, product: (product) => typeof product === 'object' && product !== null },
  synced: { userSeq: isSeq, totals: isObject },
  inboxPage: { chats: (chats) => Array.isArray(chats) && chats.every((chat) => isChat(chat) && isSeq((chat as Fields)['userSeq'])) },
  roomAdded: inboxChange,
  roomRemoved: inboxChange,
  unreadChanged: inboxChange,
  roomRead: inboxChange,
  chatChanged: inboxChange,
  ack: { event: (event) => event === undefined || (typeof event === 'object' && event !== null && isSeq((event as Fields)['seq'])) },
  error: { code: isText, retriable: (value) => typeof value === 'boolean' },
}

/** Parses one text frame of the server. Never throws. */
export function parseServerFrame(data: unknown): ParsedFrame {
  if (typeof data !== 'string') return { kind: 'bad', detail: 'not text' }
  let value: unknown
  try {
    value = JSON.parse(data)
  } catch {
    return { kind: 'bad', detail: 'not JSON' }
  }
  if (typeof value !== 'object' || value === null) return { kind: 'bad', detail: 'not a JSON object' }
  const { type } = value as Fields
  if (!isText(type)) return { kind: 'bad', detail: 'no type' }
  if (!Object.hasOwn(required, type as string)) return { kind: 'unknown' }
  for (const [name, holds] of Object.entries(required[type as ServerFrame['type']])) {
    if (!holds((value as Fields)[name])) return { kind: 'bad', detail: `${String(type)} without a valid ${name}` }
  }
  return { kind: 'frame', frame: value as ServerFrame }
}
