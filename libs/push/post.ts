import { ChatError } from '#libs/domain/errors.ts'

export type PostRequest = { readonly url: string; readonly headers: Readonly<Record<string, string>>; readonly body: string | Uint8Array<ArrayBuffer>; readonly timeoutMs: number }

/** The status of the answer; its body is not read, and redirects are not followed. @throws ChatError `unavailable` */
export async function post({ url, headers, body, timeoutMs }: PostRequest): Promise<number> {
  try {
    const answer = await fetch(url, { method: 'POST', headers, body, redirect: 'manual', signal: AbortSignal.timeout(timeoutMs) })
    await answer.body?.cancel()
    return answer.status
  } catch (err) {
    throw new ChatError('unavailable', `${new URL(url).host}: ${reasonOf(err)}`, { cause: err })
  }
}

/** fetch says what went wrong only in the cause. */
function reasonOf(err: unknown): string {
  const { message, cause } = err as Error
  return cause instanceof Error ? `${message}: ${(cause as { code?: string }).code ?? cause.message}` : message
}
