import type { RoomId } from './ids.ts'
import { fixedLimits, type RoomLimits } from './limits.ts'
import type { MessageType } from './room.ts'

/** A file of a message: linked by `url`, or uploaded to `POST /rooms/:id/attachments`, which gave the `key`. */
export type Attachment = {
  readonly url?: string
  readonly key?: string
  readonly mimeType: string
  readonly bytes: number
  readonly name: string
  /** Pixels. */
  readonly width?: number
  readonly height?: number
}

/** What a message has beside its text. */
export type MessagePayload = {
  readonly attachments?: readonly Attachment[]
  /** Degrees, WGS 84. */
  readonly location?: { readonly latitude: number; readonly longitude: number; readonly label?: string }
  readonly productId?: string
  readonly orderId?: string
}

const NAME_CHARS_MAX = 255
const DIMENSION_MAX = 100_000
const URL_CHARS_MAX = 2_048
const ID = /^[A-Za-z0-9._:-]{1,128}$/
const MIME_TYPE = /^[a-z]+\/[a-z0-9][a-z0-9.+-]{0,126}$/
const CONTROL = /[\u0000-\u001f\u007f]/

/** Keys of uploads begin with this, so that what belongs to one room cannot be shown in another. */
export const attachmentKeyPrefix = (roomId: RoomId): string => `rooms/${encodeURIComponent(roomId)}/`

/** Parses what `payloadText` made. Undefined for anything else. */
export function parsePayload(text: string | undefined): MessagePayload | undefined {
  if (text === undefined) return undefined
  try {
    const value: unknown = JSON.parse(text)
    return isObject(value) ? (value as MessagePayload) : undefined
  } catch {
    return undefined
  }
}

/** What goes into the log: only the fields that mean something, in one order, so that equal payloads have equal text. */
export function payloadText({ attachments, location, productId, orderId }: MessagePayload): string | undefined {
  const kept = {
    ...(attachments && attachments.length > 0 && { attachments: attachments.map(attachmentFields) }),
    ...(location && { location: { latitude: location.latitude, longitude: location.longitude, ...(location.label !== undefined && { label: location.label }) } }),
    ...(productId !== undefined && { productId }),
    ...(orderId !== undefined && { orderId }),
  }
  return Object.keys(kept).length === 0 ? undefined : JSON.stringify(kept)
}

function attachmentFields({ url, key, mimeType, bytes, name, width, height }: Attachment): Attachment {
  return { ...(url !== undefined && { url }), ...(key !== undefined && { key }), mimeType, bytes, name, ...(width !== undefined && { width }), ...(height !== undefined && { height }) }
}

/** What is wrong with a message's payload, in words; undefined: nothing. Takes anything. */
export function payloadProblem(roomId: RoomId, type: MessageType | undefined, text: string | undefined, limits: RoomLimits): string | undefined {
  if (text !== undefined && text.length > fixedLimits.payloadCharsMax) return `the payload has more than ${fixedLimits.payloadCharsMax} characters`
  const payload = parsePayload(text)
  if (text !== undefined && (!payload || !text.isWellFormed() || text.includes('\\u0000'))) return 'the payload is not readable'
  const { attachments = [], location, productId, orderId } = payload ?? {}
  if (!Array.isArray(attachments)) return 'attachments is not a list'
  if (attachments.length > limits.attachmentsMax) return `more than ${limits.attachmentsMax} attachments`
  for (const attachment of attachments) {
    const problem = attachmentProblem(roomId, attachment, limits)
    if (problem) return problem
  }
  if (location !== undefined && !isLocation(location)) return 'location has latitude -90 to 90, longitude -180 to 180, and perhaps a label'
  for (const id of [productId, orderId]) if (id !== undefined && !(typeof id === 'string' && ID.test(id))) return 'productId and orderId have 1 to 128 of A-Z a-z 0-9 . _ : -'
  return missingFor(type, payload ?? {})
}

function missingFor(type: MessageType | undefined, { attachments = [], location, productId, orderId }: MessagePayload): string | undefined {
  switch (type) {
    case 'image':
      return attachments.length > 0 && attachments.every((a) => a.mimeType.startsWith('image/')) ? undefined : 'an image message has attachments of type image/*'
    case 'file':
      return attachments.length > 0 ? undefined : 'a file message has attachments'
    case 'location':
      return location ? undefined : 'a location message has a location'
    case 'productCard':
      return productId === undefined ? 'a product card has a productId' : undefined
    case 'orderCard':
      return orderId === undefined ? 'an order card has an orderId' : undefined
    default:
      return undefined
  }
}

function attachmentProblem(roomId: RoomId, raw: unknown, limits: RoomLimits): string | undefined {
  if (!isObject(raw)) return 'an attachment is not an object'
  const { url, key, mimeType, bytes, name, width, height } = raw as Partial<Attachment>
  if ((url === undefined) === (key === undefined)) return 'an attachment has either a url or a key'
  if (key !== undefined && !(typeof key === 'string' && key.length <= URL_CHARS_MAX && key.startsWith(attachmentKeyPrefix(roomId)))) return 'key is not of an upload to this room'
  if (url !== undefined && !isAllowedUrl(url, limits.attachmentHosts)) return 'url is not https on an allowed host'
  if (typeof mimeType !== 'string' || !MIME_TYPE.test(mimeType)) return 'mimeType is like image/png'
  if (!Number.isSafeInteger(bytes) || bytes! < 0 || bytes! > limits.attachmentBytesMax) return `bytes is 0 to ${limits.attachmentBytesMax}`
  if (typeof name !== 'string' || name.length === 0 || name.length > NAME_CHARS_MAX || CONTROL.test(name)) return `name has 1 to ${NAME_CHARS_MAX} characters`
  for (const side of [width, height]) if (side !== undefined && !(Number.isSafeInteger(side) && side > 0 && side <= DIMENSION_MAX)) return 'width and height are in pixels'
  return undefined
}

function isAllowedUrl(raw: unknown, hosts: readonly string[]): boolean {
  if (typeof raw !== 'string' || raw.length > URL_CHARS_MAX || !URL.canParse(raw)) return false
  const { protocol, host, hostname, username, password } = new URL(raw)
  return protocol === 'https:' && username === '' && password === '' && (hosts.includes(host) || hosts.includes(hostname))
}

function isLocation(raw: unknown): boolean {
  if (!isObject(raw)) return false
  const { latitude, longitude, label } = raw as { latitude?: unknown; longitude?: unknown; label?: unknown }
  const within = (value: unknown, max: number) => typeof value === 'number' && Number.isFinite(value) && Math.abs(value) <= max
  return within(latitude, 90) && within(longitude, 180) && (label === undefined || (typeof label === 'string' && label.length <= NAME_CHARS_MAX))
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null && !Array.isArray(value)
