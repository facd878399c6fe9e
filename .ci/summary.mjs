// Prints `N passed, N failed` from vitest's JSON report. Ends with 1 if anything failed or
// nothing ran: no report, no test, or a file that could not be loaded count as failures.
import { readFileSync } from 'node:fs'

function counts(file) {
  try {
    const report = JSON.parse(readFileSync(file, 'utf8'))
    const unloaded = report.testResults.filter((suite) => suite.status === 'failed' && suite.assertionResults.length === 0).length
    const skipped = report.numPendingTests + report.numTodoTests
    return { passed: report.numPassedTests, failed: report.numFailedTests + unloaded, skipped, success: report.success }
  } catch (err) {
    console.error(`no report of the tests: ${err.message}`)
    return { passed: 0, failed: 0, skipped: 0, success: false }
  }
}

const { passed, failed, skipped, success } = counts(process.argv[2])
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
process.exitCode = success && failed === 0 && passed > 0 ? 0 : 1
