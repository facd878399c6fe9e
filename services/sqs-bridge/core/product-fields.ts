import { ChatError } from '#libs/domain/errors.ts'
import type { ProductFields } from '#libs/domain/frames.ts'
import { isRoomId } from '#libs/domain/ids.ts'
import { idText } from './ids.ts'
import { type JsonObject, quoted } from './unwrap-sns.ts'

const NAME_CHARS_MAX = 200
/** Well below 2^53, beyond which Avro's longs are refused. */
const PRICE_MINOR_MAX = 10 ** 15
const URL_CHARS_MAX = 2_048
const CURRENCY = /^[A-Z]{3}$/
const DECIMAL = /^(\d{1,15})(?:\.(\d{1,15}))?$/

/**
 * What a product card shows, by `product.updated`. Fields that are missing or null are left out.
 * @throws ChatError `invalid_event`
 */
export function productFieldsOf(payload: JsonObject, updatedAtMs: number): ProductFields {
  const productId = idText(payload, 'productId')
  // The ids that clients may watch and send cards of.
  if (!isRoomId(productId)) throw new ChatError('invalid_event', `productId ${quoted(productId)} is not 1 to 128 of A-Z a-z 0-9 . _ : -`)
  const currency = currencyOf(payload)
  const priceMinor = priceMinorOf(payload, currency)
  const imageUrl = imageUrlOf(payload)
  const available = availableOf(payload)
  return {
    productId,
    name: nameOf(payload),
    ...(priceMinor !== undefined && { priceMinor }),
    ...(currency !== undefined && { currency }),
    ...(imageUrl !== undefined && { imageUrl }),
    ...(available !== undefined && { available }),
    updatedAtMs,
  }
}

function nameOf({ name }: JsonObject): string {
  const isName = typeof name === 'string' && name !== '' && name.isWellFormed() && !name.includes('\0') && [...name].length <= NAME_CHARS_MAX
  if (!isName) throw new ChatError('invalid_event', `name ${quoted(name)} is not text of 1 to ${NAME_CHARS_MAX} characters`)
  return name
}

function currencyOf({ currency }: JsonObject): string | undefined {
  if (currency === undefined || currency === null) return undefined
  if (typeof currency !== 'string' || !CURRENCY.test(currency)) throw new ChatError('invalid_event', `currency ${quoted(currency)} is not three capital letters (ISO 4217)`)
  return currency
}

/** `priceMinor` counts where there is one: `price`, in whole units of the currency, has to be converted. */
function priceMinorOf({ priceMinor, price }: JsonObject, currency: string | undefined): number | undefined {
  if (priceMinor !== undefined && priceMinor !== null) {
    if (!isPriceMinor(priceMinor)) throw new ChatError('invalid_event', `priceMinor ${quoted(priceMinor)} is not a whole number from 0 to 10^15`)
    return priceMinor || 0
  }
  if (price === undefined || price === null) return undefined
  if (currency === undefined) throw new ChatError('invalid_event', 'price needs a currency: how many decimals it has follows from that')
  const [, units, decimals = ''] = DECIMAL.exec(typeof price === 'string' || typeof price === 'number' ? String(price) : '') ?? []
  const digits = minorDigitsOf(currency)
  const minor = Number(`${units}${decimals.replace(/0+$/, '').padEnd(digits, '0')}`)
  if (units === undefined || decimals.replace(/0+$/, '').length > digits || !isPriceMinor(minor)) {
    throw new ChatError('invalid_event', `price ${quoted(price)} is not an amount of ${currency}`)
  }
  return minor
}

const isPriceMinor = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= PRICE_MINOR_MAX

/** 2 for most, 0 for JPY, 3 for KWD; 2 too where the currency is not known. */
const minorDigitsOf = (currency: string): number => new Intl.NumberFormat('en', { style: 'currency', currency }).resolvedOptions().maximumFractionDigits ?? 2

function imageUrlOf({ imageUrl }: JsonObject): string | undefined {
  if (imageUrl === undefined || imageUrl === null) return undefined
  const url = typeof imageUrl === 'string' && imageUrl.length <= URL_CHARS_MAX && imageUrl.isWellFormed() ? URL.parse(imageUrl) : null
  if (url?.protocol !== 'https:' || url.username !== '' || url.password !== '') throw new ChatError('invalid_event', `imageUrl ${quoted(imageUrl)} is not an https URL`)
  // As a browser will understand it, without what it would have to mend.
  return url.href
}

function availableOf({ available }: JsonObject): boolean | undefined {
  if (available === undefined || available === null) return undefined
  if (typeof available !== 'boolean') throw new ChatError('invalid_event', `available ${quoted(available)} is neither true nor false`)
  return available
}
