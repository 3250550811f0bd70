import Base

/// The checkout that the tests were built from.
public enum Repository {
    /// Absolute path of the top folder, found from this file's own path.
    public static let root: String = Path.parent(Path.parent(Path.parent(#filePath)))

    /// A text file of the checkout; at most 4 MiB.
    public static func text(_ relative: String) throws -> String {
        String(decoding: try FileSystem().read(Path.join(root, relative), limit: 4 << 20), as: UTF8.self)
    }

    /// All files below a folder whose names end so, as paths relative to the top.
    public static func files(under folder: String, suffix: String) throws -> [String] {
        let fileSystem = FileSystem()
        var found: [String] = []
        var pending = [folder]
        while let next = pending.popLast() {
            for name in try fileSystem.list(Path.join(root, next)) where !name.hasPrefix(".") {
                let path = Path.join(next, name)
                switch try fileSystem.status(Path.join(root, path))?.kind {
                case .directory: pending.append(path)
                case .file where name.hasSuffix(suffix): found.append(path)
                default: continue
                }
            }
        }
        return found.sorted()
    }
}
