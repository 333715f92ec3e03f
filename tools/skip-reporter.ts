import type { TestEvent } from 'node:test/reporters'

/** A line for each test that was skipped: its name and the reason. */
async function* skipReporter(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of source) {
    if ((event.type === 'test:pass' || event.type === 'test:fail') && event.data.skip !== undefined)
      yield `${event.data.name}: ${event.data.skip}\n`
  }
}

// biome-ignore lint/style/noDefaultExport: node:test takes a reporter as default export
export default skipReporter
