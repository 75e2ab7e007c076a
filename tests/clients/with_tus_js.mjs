// An upload as a holder would script it with tus-js-client; what to do comes as JSON on standard
// input. Run again after a failure, it goes on from where the upload stands.
import { createReadStream, readFileSync } from 'node:fs'
import { FileUrlStorage, Upload } from 'tus-js-client'

const told = JSON.parse(readFileSync(0, 'utf8'))
const upload = new Upload(createReadStream(told.file), {
  endpoint: told.endpoint,
  headers: { Authorization: `Bearer ${told.token}` },
  metadata: told.metadata,
  chunkSize: told.chunk || Infinity,
  retryDelays: Array(told.retries).fill(500),
  overridePatchMethod: told.overridden ?? false,
  urlStorage: new FileUrlStorage(told.memory),
  storeFingerprintForResuming: true,
  onChunkComplete: async (_size, accepted) => {
    if (told.giveUpAt && accepted >= told.giveUpAt) {
      await upload.abort(true) // tells the server too: tus termination
      console.log(upload.url)
      process.exit(0)
    }
  },
  onError: (error) => {
    console.error(String(error.originalResponse?.getStatus() ?? error.name))
    process.exit(1)
  },
  onSuccess: () => {
    console.log(upload.url)
    process.exit(0)
  },
})
const previous = await upload.findPreviousUploads()
if (previous.length) upload.resumeFromPreviousUpload(previous[0])
upload.start()
