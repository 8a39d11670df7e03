# Stands for the tables of Solid Queue.
class QueuedJob < QueueRecord
end
