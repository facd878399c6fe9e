import webPush from 'web-push'
import { ChatError } from '#libs/domain/errors.ts'
import { allowingHost, type PushSubscription } from './endpoints.ts'
import { post } from './post.ts'

export type WebPushConfig = {
  /** Of the operator: `mailto:…` or `https://…`, for the push services. */
  readonly subject: string
  /** VAPID, base64url. */
  readonly publicKey: string
  readonly privateKey: string
  /** Where subscriptions may lead: `host`, `host:port` or `*.domain`. */
  readonly hosts: readonly string[]
  readonly timeoutMs: number
}

export type WebPushMessage = {
  readonly body: string
  /** For how long the push service keeps it for a device that is off. */
  readonly ttlS: number
  /** Of those with the same one the push service keeps the last: up to 32 characters of base64url. */
  readonly topic: string
  readonly urgency: 'very-low' | 'low' | 'normal' | 'high'
}

/** What is wrong with the keys, in words; undefined: nothing. Never repeats them. */
export function vapidProblem({ subject, publicKey, privateKey }: Pick<WebPushConfig, 'subject' | 'publicKey' | 'privateKey'>): string | undefined {
  try {
    webPush.getVapidHeaders('https://push.example', subject, publicKey, privateKey, 'aes128gcm')
    return undefined
  } catch (err) {
    return (err as Error).message
  }
}

/** Sends encrypted messages to browsers (RFC 8030, 8188, 8291, 8292). */
export function createWebPush({ subject, publicKey, privateKey, hosts, timeoutMs }: WebPushConfig) {
  return {
    /** Whose push service it is, of the list; undefined: it is not on it. */
    providerOf: ({ endpoint }: PushSubscription): string | undefined => allowingHost(endpoint, hosts),
    /**
     * `gone`: the browser has given the subscription up.
     * @throws ChatError `unavailable`: later perhaps; `delivery_refused`: never
     */
    async send({ endpoint, p256dh, auth }: PushSubscription, { body, ttlS, topic, urgency }: WebPushMessage): Promise<'sent' | 'gone'> {
      // The list may have become shorter since it was registered.
      if (allowingHost(endpoint, hosts) === undefined) throw new ChatError('delivery_refused', 'the endpoint is not of a push service that is known here')
      const status = await post({ ...requestOf(), timeoutMs })
      if (status >= 200 && status < 300) return 'sent'
      if (status === 404 || status === 410) return 'gone'
      const isLater = status === 408 || status === 429 || status >= 500
      throw new ChatError(isLater ? 'unavailable' : 'delivery_refused', `${new URL(endpoint).host} answers ${status}`)

      function requestOf() {
        const options = { vapidDetails: { subject, publicKey, privateKey }, TTL: ttlS, topic, urgency, contentEncoding: 'aes128gcm' as const }
        try {
          const details = webPush.generateRequestDetails({ endpoint, keys: { p256dh, auth } }, body, options)
          // fetch counts the bytes itself.
          const { 'Content-Length': _, ...headers } = details.headers
          return { url: endpoint, headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)])), body: new Uint8Array(details.body) }
        } catch (err) {
          throw new ChatError('delivery_refused', 'the keys of the subscription cannot be used', { cause: err })
        }
      }
    },
  }
}
