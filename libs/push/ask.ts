import { Webhook } from 'standardwebhooks'
import { ChatError } from '#libs/domain/errors.ts'
import { signedHeaders, type WebhookConfig } from './webhook.ts'

/** Of an answer, in bytes: more is refused unread. */
const ANSWER_BYTES_MAX = 64 * 1024

/** Later perhaps: too many requests, or its own timeout. Any other 4xx is about the request itself. */
const RETRIABLE: ReadonlySet<number> = new Set([408, 425, 429])

/**
 * A webhook that is asked and answers (Standard Webhooks): `webhook-id` is the same for every repeat. The text of a 2xx.
 * @throws ChatError `unavailable`: later perhaps; `delivery_refused`: the same again would be answered the same
 */
export function createAskingWebhook({ url, secret, timeoutMs }: WebhookConfig) {
  const webhook = new Webhook(secret)
  return {
    async ask(id: string, body: string): Promise<string> {
      const headers = signedHeaders(webhook, id, body)
      const { status, text } = await request(url, { headers, body, timeoutMs })
      if (status >= 200 && status < 300) return text
      throw new ChatError(status >= 400 && status < 500 && !RETRIABLE.has(status) ? 'delivery_refused' : 'unavailable', `the webhook answers ${status}`)
    },
  }
}

async function request(url: string, { headers, body, timeoutMs }: { headers: Record<string, string>; body: string; timeoutMs: number }): Promise<{ status: number; text: string }> {
  try {
    const answer = await fetch(url, { method: 'POST', headers, body, redirect: 'manual', signal: AbortSignal.timeout(timeoutMs) })
    if (!answer.ok) {
      await answer.body?.cancel()
      return { status: answer.status, text: '' }
    }
    return { status: answer.status, text: await textOf(answer) }
  } catch (err) {
    if (err instanceof ChatError) throw err
    throw new ChatError('unavailable', `${new URL(url).host}: ${(err as Error).message}`, { cause: err })
  }
}

async function textOf({ body }: Response): Promise<string> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of body ?? []) {
    bytes += part.length
    if (bytes > ANSWER_BYTES_MAX) throw new ChatError('delivery_refused', `the webhook answers with more than ${ANSWER_BYTES_MAX} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts).toString()
}
