# Stands for the table of Solid Cache.
class CachedValue < CacheRecord
end
