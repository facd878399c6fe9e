import { Webhook } from 'standardwebhooks'
import { ChatError } from '#libs/domain/errors.ts'
import { systemClock } from '#libs/runtime/clock.ts'
import { post } from './post.ts'

export type WebhookConfig = {
  readonly url: string
  /** `whsec_` and base64, 24 to 64 bytes. */
  readonly secret: string
  readonly timeoutMs: number
}

/** The request itself is at fault, or the receiver wants no more of them: the same again would fail the same. */
const REFUSALS: ReadonlySet<number> = new Set([400, 410, 413, 422])

/** What is wrong with a secret, in words; undefined: nothing. Never repeats it. */
export function secretProblem(secret: string): string | undefined {
  const bytes = /^whsec_[A-Za-z0-9+/]+={0,2}$/.test(secret) ? Buffer.from(secret.slice('whsec_'.length), 'base64').length : 0
  return bytes >= 24 && bytes <= 64 ? undefined : 'must be whsec_ and 24 to 64 bytes in base64'
}

/** Of Standard Webhooks, as of now. */
export function signedHeaders(webhook: Webhook, id: string, body: string): Record<string, string> {
  const sentAt = new Date(systemClock.nowMs())
  return {
    'content-type': 'application/json',
    'webhook-id': id,
    'webhook-timestamp': String(Math.floor(sentAt.getTime() / 1_000)),
    'webhook-signature': webhook.sign(id, sentAt, body),
  }
}

/**
 * Sends signed messages (Standard Webhooks): `webhook-id` is the same for every repeat. Any answer but 2xx is a failure.
 * @throws ChatError `unavailable`: later perhaps; `delivery_refused`: never
 */
export function createWebhook({ url, secret, timeoutMs }: WebhookConfig) {
  const webhook = new Webhook(secret)
  return {
    async send(id: string, body: string): Promise<void> {
      const headers = signedHeaders(webhook, id, body)
      const status = await post({ url, headers, body, timeoutMs })
      if (status >= 200 && status < 300) return
      throw new ChatError(REFUSALS.has(status) ? 'delivery_refused' : 'unavailable', `the webhook answers ${status}`)
    },
  }
}
