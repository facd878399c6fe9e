import type { Attachment, NewMessageFrame, RoomEventFrame, RoomUpdatedFrame } from '#libs/client/index.ts'

/** An event of a room in words, for a terminal. */
export const eventLine = (event: RoomEventFrame): string => (event.type === 'newMessage' ? messageLine(event) : `* ${updateLine(event)}`)

function messageLine(message: NewMessageFrame): string {
  const { senderId, content, attachments = [], location, productId, orderId, mentions, replyToSeq, revision, deleted, hidden } = message
  const beside = [
    ...attachments.map(attachmentText),
    ...(location ? [`[at ${location.latitude}, ${location.longitude}${location.label === undefined ? '' : `: ${location.label}`}]`] : []),
    ...(productId === undefined ? [] : [`[product ${productId}]`]),
    ...(orderId === undefined ? [] : [`[order ${orderId}]`]),
    ...(mentions ? [`@${mentions.join(' @')}`] : []),
    ...(replyToSeq === undefined ? [] : [`(in reply to #${replyToSeq})`]),
    ...(revision === undefined ? [] : ['(edited)']),
    ...(hidden ? ['(hidden: there is a block)'] : []),
  ]
  return [`${senderId}:`, content ?? (deleted ? '(deleted)' : '(erased)'), ...beside].filter((part) => part !== '').join(' ')
}

const attachmentText = ({ name, mimeType, bytes }: Attachment): string => `[${name}, ${mimeType}, ${bytes} bytes]`

function updateLine(event: RoomUpdatedFrame): string {
  switch (event.event) {
    case 'roomOpened':
      return `opened for ${event.participants.map(({ userId, role }) => `${userId} (${role})`).join(', ')}${event.name === undefined ? '' : `: "${event.name}"`}`
    case 'participantAdded':
      return `${event.userId} is in as ${event.role}`
    case 'participantRemoved':
      return `${event.userId} (${event.role}) is out: ${event.reason}`
    case 'roomClosed':
      return `closed: ${event.reason}${event.note === undefined ? '' : `, "${event.note}"`}`
    case 'messageEdited':
      return `${event.by} has edited #${event.messageSeq}: ${event.content ?? '(not the last edit)'}`
    case 'messageDeleted':
      return `${event.by} has deleted #${event.messageSeq}`
    case 'messageRedacted':
      return `a moderator has redacted #${event.messageSeq}: ${event.reason}`
    case 'messageReported':
      return `${event.by} has reported #${event.messageSeq}: ${event.reason}`
    case 'roomFrozen':
      return `${event.on ? 'frozen' : 'not frozen any more'}${event.reason === undefined ? '' : `: "${event.reason}"`}`
    case 'reactionSet':
      return event.on ? `${event.by} reacts to #${event.messageSeq}: ${event.emoji}` : `${event.by} takes ${event.emoji} back from #${event.messageSeq}`
    case 'receiptMoved':
      return `${event.userId} has all messages up to number ${event.delivered}, and has seen up to number ${event.seen}`
    case 'roomChanged':
      return `changed${event.name === undefined ? '' : `: "${event.name}"`}`
    case 'mediatorInvited':
      return `${event.userId} is invited as mediator`
    case 'blockSet':
      return event.on ? `you have blocked ${event.userId}` : `you do not block ${event.userId} any more`
    case 'private':
      return '(something that is not for you)'
    default:
      return '(something that this version does not know)'
  }
}
