import Base
import HubCore
import HubStore
import TestSupport
import Testing

/// The backends that the contract is tried on. One that is added here has to keep all of it.
enum MetadataBackend: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case sqlite

    var testDescription: String { rawValue }

    /// A store over `directory`; opened again over the same one it holds what it held.
    func open(_ directory: TemporaryDirectory, monitor: DurabilityMonitor = .passthrough) throws -> any MetadataStore {
        switch self {
        case .sqlite: try SQLiteMetadataStore(path: directory.file("hub.db"), monitor: monitor)
        }
    }
}

enum BlobBackend: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case file

    var testDescription: String { rawValue }

    func open(_ directory: TemporaryDirectory, monitor: DurabilityMonitor = .passthrough) throws -> any HubBlobStore {
        switch self {
        case .file: try FileBlobStore(root: directory.file("blobs"), fileSystem: FileSystem(monitor: monitor))
        }
    }
}
