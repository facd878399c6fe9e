import { runMain } from '#libs/runtime/run-main.ts'
import { moderationConfigFromEnv } from './config.ts'
import { startModeration } from './service.ts'

await runMain(() => startModeration(moderationConfigFromEnv(process.env)))
