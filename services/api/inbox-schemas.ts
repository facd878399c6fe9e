import { Type } from '@fastify/type-provider-typebox'
import { FOREVER_MS } from '#libs/domain/inbox.ts'
import { roomKinds } from '#libs/domain/room.ts'
import { message, nullable, pageLimit, roomId, seq, strict, timeMs } from './schemas.ts'
import { clientName } from './write-schemas.ts'

/** What is of one user: his list of chats, what he was told of, and where he wants to be told. */
const cursor = Type.Optional(Type.String({ maxLength: 256, description: '`nextCursor` of the page before' }))
const nextCursor = nullable(Type.String({ description: '`cursor` for the next page; null at the end' }))
const statuses = [Type.Literal('in'), Type.Literal('invited'), Type.Literal('left')] as const

export const inboxQuery = Type.Object(
  {
    status: Type.Optional(Type.Union([...statuses], { description: 'Left out: in and invited' })),
    archived: Type.Optional(Type.Boolean({ description: 'Left out: both' })),
    cursor,
    limit: pageLimit,
  },
  strict,
)
export const inboxChangesQuery = Type.Object({ after: Type.Optional(seq('Changes above this userSeq: the same cursor as that of `sync` on a WebSocket')), limit: pageLimit }, strict)

const lastMessage = Type.Object({ seq: seq('Its place in the room'), messageIndex: seq('Counts only messages, from 1'), messageId: Type.String(), senderId: Type.String(), timestampMs: timeMs('When it was accepted') })
const chatFields = {
  roomId: Type.String(),
  roomSeq: seq('Of the room, as of which this holds'),
  status: Type.String({ examples: ['in', 'invited', 'left'] }),
  kind: Type.String({ examples: [...roomKinds] }),
  role: Type.Optional(Type.String({ description: 'What the user is in this room' })),
  name: Type.Optional(Type.String()),
  messageCount: seq('Messages ever sent'),
  unread: seq("Messages above one's own seen cursor"),
  mentions: seq('Unread ones that mention this user'),
  lastActivityMs: timeMs('Of the last message, or when one came in'),
  last: Type.Optional(lastMessage),
  closed: Type.Optional(Type.Boolean()),
  mutedUntilMs: Type.Optional(Type.Integer({ description: `Left out: not muted; ${FOREVER_MS}: for ever; ms since 1970` })),
  archived: Type.Optional(Type.Boolean()),
} as const
const totals = Type.Object(
  { unread: seq('Unread messages'), mentions: seq('Those of them that mention this user'), chats: seq('Chats that he is in') },
  { description: 'Over all chats that he is in, those that are muted or archived too' },
)
const listedChat = Type.Object({
  ...chatFields,
  userSeq: seq('Of its last change'),
  lastMessage: nullable(message),
})
const userSeq = seq('Up to which this is all that has changed: `after` for what comes next, `cursor` for a `sync`')

export const inboxPage = Type.Object({
  userSeq,
  totals,
  chats: Type.Array(listedChat, { description: 'By last activity, newest first. What moves up meanwhile is in /me/inbox/changes above the userSeq of the first page' }),
  nextCursor,
})
export const inboxChanges = Type.Object({
  userSeq: seq('The last change of the list when this page was read'),
  totals,
  chats: Type.Array(listedChat, { description: 'In the order of their last change, each as it is now; also those that were left' }),
  nextAfter: seq('`after` for what follows this page'),
  hasMore: Type.Boolean(),
})

export const myChatParams = Type.Object({ roomId })
export const myChatBody = Type.Object(
  {
    ...clientName,
    mutedUntilMs: Type.Optional(Type.Integer({ minimum: 0, maximum: FOREVER_MS, description: `0: not muted; ${FOREVER_MS}: for ever` })),
    archived: Type.Optional(Type.Boolean()),
  },
  strict,
)
export const myChatAnswer = Type.Object({
  roomId: Type.String(),
  userSeq: seq('Of the change; where nothing changed, the last one of the list'),
  chat: Type.Optional(Type.Object(chatFields)),
  totals: Type.Optional(totals),
  unchanged: Type.Optional(Type.Boolean({ description: 'It was so already' })),
})

const notification = Type.Object({
  notificationId: Type.String({ format: 'uuid', description: 'The same in everything that is sent about it' }),
  roomId: Type.String(),
  kind: Type.String({ examples: ['message', 'mention', 'invitation'] }),
  firstIndex: nullable(seq('messageIndex of the first message that it is about')),
  lastIndex: nullable(seq('… and of the last')),
  lastSeq: seq('Of the last message, or of the invitation'),
  count: seq('Unread messages of the room when it was written last'),
  senderId: nullable(Type.String({ description: 'Of the last message' })),
  roomKind: Type.String({ examples: [...roomKinds] }),
  roomName: nullable(Type.String()),
  createdAt: timeMs('When it was first written'),
  updatedAt: timeMs('When it was last changed'),
  readAt: nullable(timeMs('When it was read, or was of no more use; null: unread')),
  closedBy: nullable(Type.String({ examples: ['read', 'muted', 'archived', 'left', 'answered'] })),
})
export const notificationsQuery = Type.Object({ unread: Type.Optional(Type.Boolean({ description: 'Left out: both' })), cursor, limit: pageLimit }, strict)
export const notificationsPage = Type.Object({
  notifications: Type.Array(notification, { description: 'The newest first' }),
  unread: seq('How many are unread, on whatever page'),
  nextCursor,
})
export const notificationParams = Type.Object({ notificationId: Type.String({ format: 'uuid' }) })
export const notificationAnswer = notification
export const readAllAnswer = Type.Object({ read: seq('How many were unread') })

const endpoint = Type.String({ minLength: 1, maxLength: 2_048, description: 'https, of a push service that is known here' })
/** What browsers give: `PushSubscription.toJSON()`. */
export const subscriptionBody = Type.Object(
  {
    ...clientName,
    endpoint,
    expirationTime: Type.Optional(nullable(Type.Number({ description: 'Not used: a subscription that has ended says so when it is asked' }))),
    keys: Type.Object({ p256dh: Type.String({ maxLength: 128 }), auth: Type.String({ maxLength: 64 }) }, strict),
  },
  strict,
)
export const subscriptionEndBody = Type.Object({ ...clientName, endpoint }, strict)
export const subscriptionAnswer = Type.Object({ endpoint: Type.String() })
export const subscriptionEndAnswer = Type.Object({ endpoint: Type.String(), removed: Type.Boolean({ description: 'False: it was not there' }) })
export const subscriptions = Type.Object({
  subscriptions: Type.Array(Type.Object({ endpoint: Type.String(), createdAt: timeMs('When it was first given'), updatedAt: timeMs('When it was last given') })),
  applicationServerKey: nullable(Type.String({ description: '`applicationServerKey` of `pushManager.subscribe()`; null: Web Push is not set up here' })),
})
