import Model

/// `devices` in short and long form.
enum DeviceReader {
    static func device(_ field: Field) throws(ComposeError) -> Service.Device {
        let host: String
        let container: String
        let permissions: String
        if field.isMap {
            var reader = try FieldReader(field)
            host = try reader.require("source").word()
            container = try reader.word("target") ?? host
            permissions = try reader.word("permissions") ?? "rwm"
            try reader.finish()
        } else {
            let parts = try field.word().split(separator: ":", omittingEmptySubsequences: false).map(String.init)
            guard parts.count <= 3, !parts.contains("") else {
                throw field.fail(.value, "\(field.shown) is no device", hint: "write HOST:CONTAINER[:rwm]")
            }
            host = parts[0]
            // As the engine's own client reads it: a second part that is no path is the permissions.
            let second = parts.count > 1 ? parts[1] : host
            let isPath = second.hasPrefix("/")
            container = isPath ? second : host
            permissions = parts.count == 3 ? parts[2] : (isPath ? "rwm" : second)
        }
        guard let hostPath = MountReader.absolutePath(host), let containerPath = MountReader.absolutePath(container)
        else {
            throw field.fail(
                .value, "\(field.isMap ? host : field.shown) is no device path", hint: "write /dev/NAME on both sides")
        }
        let letters = Set(permissions)
        guard letters.isSubset(of: "rwm"), letters.count == permissions.count, !letters.isEmpty else {
            throw field.fail(.value, "\"\(permissions)\" is not a choice of r, w and m")
        }
        return Service.Device(host: hostPath, container: containerPath, permissions: permissions)
    }
}
